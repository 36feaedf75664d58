/* What scrolls sideways by itself, a wide table or a formula on a telephone, can be reached by the keyboard. */
(() => {
  "use strict";
  const look = () => {
    document.querySelectorAll(".md-typeset__scrollwrap, .formula").forEach((part) => {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    });
  };
  addEventListener("load", look);
  addEventListener("resize", look);
  document.addEventListener("toggle", look, true);
})();
