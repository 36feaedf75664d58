/* The comparison of the log: sort by a column, filter, choose two entries and see them side by side.
   The page is whole without this script.  It writes text only as text, and asks nobody for anything. */
(() => {
  "use strict";
  const find = (name) => document.getElementById("log-" + name);
  const root = find("comparison");
  if (!root) return;
  const data = JSON.parse(find("data").textContent);
  const words = data.words;
  const table = root.querySelector(".log-table");
  const body = table.tBodies[0];
  const pair = find("pair");
  const bar = find("bar");

  const zip = (names, values) => new Map(names.map((name, at) => [name, values[at]]));
  const entries = [...body.rows].map((row, at) => {
    const [id, experiment, settingNames, settings, metricNames, metrics] = data.entries[at];
    return {
      id, experiment, row, at,
      settings: zip(data.names[settingNames], settings.map((text) => data.texts[text])),
      metrics: zip(data.names[metricNames], metrics),
      link: row.querySelector("a"),
      box: row.querySelector("input"),
    };
  });
  let chosen = [];

  const element = (name, text = "", attributes = {}) => {
    const made = document.createElement(name);
    made.textContent = text;
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };
  const told = (value) => {
    if (value === undefined || value === null) return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    if (size !== 0 && size < 1e-12) return words.rounding;
    return size !== 0 && (size < 5e-5 || size >= 1e6) ? value.toExponential(1) : value.toFixed(4);
  };

  /* Filters. */
  const fill = (select, values) => {
    const kept = select.value;
    select.replaceChildren(select.options[0], ...[...values].map((value) => element("option", value, { value })));
    select.value = [...values].includes(kept) ? kept : "";
  };
  const sorted = (values) => [...new Set(values)].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const controls = ["experiment", "setting", "value", "metric"].map(find);
  const [experiment, setting, value, metric] = controls;

  const filter = () => {
    const within = entries.filter((one) => !experiment.value || one.experiment === experiment.value);
    fill(setting, sorted(within.flatMap((one) => [...one.settings.keys()])));
    fill(value, setting.value ? sorted(within.flatMap((one) => one.settings.get(setting.value) ?? [])) : []);
    value.disabled = !setting.value;
    fill(metric, sorted(within.flatMap((one) => [...one.metrics.keys()])));
    let count = 0;
    entries.forEach((one) => {
      const has = !setting.value ||
        (one.settings.has(setting.value) && (!value.value || one.settings.get(setting.value) === value.value));
      one.row.hidden = !(within.includes(one) && has);
      count += one.row.hidden ? 0 : 1;
    });
    find("count").textContent = words.shown.replace("{shown}", count).replace("{all}", entries.length);
    showMetric();
  };
  const showMetric = () => {
    const head = table.tHead.rows[0].lastElementChild;
    head.hidden = !metric.value;
    head.firstElementChild.textContent = metric.value;
    entries.forEach((one) => {
      const cell = one.row.lastElementChild;
      const number = one.metrics.get(metric.value);
      cell.hidden = !metric.value;
      cell.textContent = told(number);
      cell.dataset.label = metric.value;
      cell.dataset.value = number ?? "";
    });
  };

  /* Sorting: a column's heading is a button; what a row does not have stands last either way. */
  const key = (one, column) => {
    const cell = one.row.cells[column];
    if (cell.dataset.value !== undefined) return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    return cell.textContent === "–" ? null : cell.textContent;
  };
  const sort = (head) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keys = new Map(entries.map((one) => [one, key(one, head.cellIndex)]));
    const order = (a, b) => {
      const [left, right] = [keys.get(a), keys.get(b)];
      if (left === null || right === null) return (left === null) - (right === null) || a.at - b.at;
      const less = typeof left === "number" ? left - right : left.localeCompare(right, "en", { numeric: true });
      return (up ? less : -less) || a.at - b.at;
    };
    body.append(...[...entries].sort(order).map((one) => one.row));
  };
  table.querySelectorAll("th[data-sort]").forEach((head) => {
    const button = element("button", head.textContent, { type: "button" });
    button.addEventListener("click", () => sort(head));
    head.replaceChildren(button);
  });

  /* Two entries. */
  const choose = (one) => {
    const ticked = one.box.checked ? [...chosen, one] : chosen.filter((other) => other !== one);
    const dropped = ticked.slice(0, -2)[0];
    chosen = ticked.slice(-2);
    entries.forEach((other) => { other.box.checked = chosen.includes(other); });
    compare(dropped);
    try { history.replaceState(null, "", "#" + chosen.map((other) => other.id).join("+")); } catch { /* a copy on a disk */ }
  };
  const compare = (dropped) => {
    bar.hidden = chosen.length === 0;
    pair.hidden = chosen.length < 2;
    const button = chosen.length < 2 ? element("span", words.one) : element("button", words.show, { type: "button" });
    if (chosen.length === 2) button.addEventListener("click", () => pair.focus());
    bar.replaceChildren(element("span", chosen.map((one) => one.id).join(" × ")), " ", button);
    if (dropped) bar.append(" ", element("span", words.dropped.replace("{id}", dropped.id)));
    if (chosen.length === 2) pair.replaceChildren(...side(...chosen));
  };
  const side = (a, b) => {
    const clear = element("button", words.clear, { type: "button" });
    clear.addEventListener("click", () => {
      const box = a.box;
      [a, b].forEach((one) => { one.box.checked = false; choose(one); });
      box.focus();
    });
    const more = element("p", words.more + " ");
    more.append(element("code", `llmlab log compare ${a.id} ${b.id}`));
    const said = words.apart.replace("{a}", a.experiment).replace("{b}", b.experiment);
    const apart = a.experiment === b.experiment ? [] : [element("p", said, { class: "log-apart" })];
    const title = element("h2", words.pair, { id: "log-pair-title" });
    return [title, clear, ...apart, ...settings(a, b), ...metrics(a, b), more];
  };
  const grid = (title, a, b, last) => {
    const made = element("table", "", { class: "log-side" });
    const head = made.createTHead().insertRow();
    head.append(element("th", title, { scope: "col" }));
    [a, b].forEach((one) => {
      const cell = element("th", "", { scope: "col" });
      cell.append(element("a", one.link.textContent, { href: one.link.getAttribute("href") }), " " + one.id);
      head.append(cell);
    });
    head.append(element("th", last, { scope: "col" }));
    made.createTBody();
    return made;
  };
  const add = (made, cells, differs) => {
    const row = made.tBodies[0].insertRow();
    const head = element("th", "", { scope: "row" });
    head.append(...cells[0].split(/(?<=_)/).flatMap((part) => [part, element("wbr")])); /* a long name breaks at a _ */
    row.append(head, ...cells.slice(1).map((text) => element("td", text)));
    if (differs) row.className = "log-differs";
  };
  const settings = (a, b) => {
    const made = grid(words.settings, a, b, words.difference);
    const left = new Map([["experiment", a.experiment], ...a.settings]);
    const right = new Map([["experiment", b.experiment], ...b.settings]);
    const all = [...new Set([...left.keys(), ...right.keys()])];
    const names = a.experiment === b.experiment ? all : all.filter((name) => left.has(name) && right.has(name));
    const differ = (name) => left.get(name) !== right.get(name);
    [...names.filter(differ), ...names.filter((name) => !differ(name))].forEach((name) => {
      const cells = [name, left.get(name) ?? "–", right.get(name) ?? "–", differ(name) ? words.differs : ""];
      add(made, cells, differ(name));
    });
    return [made];
  };
  const metrics = (a, b) => {
    const made = grid(words.metrics, a, b, words.difference);
    [...a.metrics].filter(([name]) => b.metrics.has(name)).forEach(([name, left]) => {
      const right = b.metrics.get(name);
      add(made, [name, told(left), told(right), told(right - left)], left !== right);
    });
    return [made];
  };

  entries.forEach((one) => one.box.addEventListener("change", () => choose(one)));
  controls.forEach((control) => control.addEventListener("change", filter));
  fill(experiment, sorted(entries.map((one) => one.experiment)));
  filter();
  location.hash.slice(1).split("+").forEach((id) => {
    const one = entries.find((other) => other.id === id);
    if (one && chosen.length < 2) { one.box.checked = true; choose(one); }
  });
})();
