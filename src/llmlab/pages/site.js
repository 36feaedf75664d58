/* What scrolls sideways by itself, a wide table or a formula on a telephone, can be reached by the keyboard. */
(() => {
  "use strict";
  const look = () => {
    document.querySelectorAll(".md-typeset__scrollwrap, .formula").forEach((part) => {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    });
  };
  /* The theme puts a copy button into each transcript, and calls each a place to steer to. */
  new MutationObserver(() => {
    document.querySelectorAll("nav.md-code__nav:not([role])").forEach((one) => { one.role = "presentation"; });
  }).observe(document.body, { childList: true, subtree: true });
  addEventListener("load", look);
  addEventListener("resize", look);
  document.addEventListener("toggle", look, true);
})();
