// The filter of the page of the original notes.  Without this script the page shows every claim, folded, and no filter.
// claims.html?verdict=refuted&chapter=layers&words=depth opens with the filter set.
document.addEventListener("DOMContentLoaded", () => {
  const filter = document.querySelector(".claims-filter");
  if (!filter) return;
  const claims = [...document.querySelectorAll(".claim")].map((element) => ({
    element,
    text: element.textContent.toLowerCase(),
  }));
  const asked = new URLSearchParams(location.search);
  const fields = Object.fromEntries(
    ["verdict", "chapter", "words"].map((name) => [name, filter.querySelector(`[name=${name}]`)]),
  );

  function apply() {
    const words = fields.words.value.toLowerCase().split(/\s+/);
    for (const { element, text } of claims) {
      const chosen = ["verdict", "chapter"].every(
        (name) => !fields[name].value || element.dataset[name] === fields[name].value,
      );
      element.hidden = !(chosen && words.every((word) => text.includes(word)));
    }
    const filtering = Object.values(fields).some((field) => field.value.trim());
    for (const group of document.querySelectorAll(".claims")) {
      group.hidden = !group.querySelector(".claim:not([hidden])");
      group.open = (filtering && !group.hidden) || group.contains(document.querySelector(":target"));
    }
    filter.querySelector("[role=status]").textContent = filter.dataset.count
      .replace("{shown}", claims.filter(({ element }) => !element.hidden).length)
      .replace("{all}", claims.length);
  }

  window.addEventListener("hashchange", () => {
    document.querySelector(":target")?.closest(".claims")?.setAttribute("open", "");
    document.querySelector(":target")?.scrollIntoView();
  });
  for (const [name, field] of Object.entries(fields)) {
    if (asked.has(name)) field.value = asked.get(name);
    field.addEventListener("input", apply);
  }
  filter.hidden = false;
  apply();
  document.querySelector(":target")?.scrollIntoView();
});
