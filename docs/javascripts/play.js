// The plane of chapter 2, alive: stations, output rows and biases moved by hand, and the model trained in view.
//
// Read in order: text, model, training, state, what is seen, what hands do.  It is llmlab.phase1.TinyModel in two
// dimensions, trained as by llmlab.lab.optimizer; its words and first starts stand in the page, and nothing is sent.
(() => {
  "use strict";
  const root = document.querySelector("#play");
  if (!root) return;
  const { starts, words } = JSON.parse(root.querySelector("script").textContent);
  const plane = root.querySelector("svg");
  const field = (name) => root.querySelector(`[name=${name}]`);
  const AXES = [0, 1], UPDATES = 200, A_FRAME = 2, START_ANGLE = Math.PI / 6, LARGEST_LOSS = 1e6, WIDE = 20;
  const B1 = 0.9, B2 = 0.999, EPS = 1e-8, DECAY = 0.01;
  const RATES = { adam: 0.01, sgd: 0.5, adamw: 0.01 };  // what suits each rule on a text this small
  const TRAINED = { none: ["E", "W", "b"], embedding: ["W", "b"], linear: ["E"] };  // by what is frozen

  // ---- the text: which letters, and how often each follows each ------------------------------------------------

  function pairsOf(text) {
    const letters = [...text], tokens = [...new Set(letters)];
    const joint = tokens.map(() => tokens.map(() => 0));  // share of "x, then k" among all pairs
    const order = letters.slice(1).map((letter, at) => [tokens.indexOf(letters[at]), tokens.indexOf(letter)]);
    for (const [x, k] of order) joint[x][k] += 1 / order.length;
    return { text, tokens, joint, order };
  }

  // The loss that no model of one letter can get below: the conditional entropy of the pairs.
  const floorOf = ({ joint }) => -sum(joint.flatMap((row) =>
    row.map((share) => share && share * Math.log(share / sum(row)))));

  // What can be seen and told apart, as llmlab.text.pairs.visible has it; letters are code points there as well.
  const code = (letter) => `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  const visible = (letter) => letter === " " ? "␣" : /[␣\p{C}\p{Z}\p{M}]/u.test(letter) ? code(letter) : letter;

  // The letter that follows x most often and is not x itself, of equals the first in the text; or nothing.
  function otherAfter({ joint, order }, x) {
    let best = null;
    for (const [from, k] of order) {
      if (from === x && k !== x && (best === null || joint[x][k] > joint[x][best])) best = k;
    }
    return best;
  }

  // ---- the model: score[x, k] = E[x] . W[k] + b[k], softmax over k -----------------------------------------------

  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
  const scores = ({ E, W, b }, x) => W.map((row, k) => dot(E[x], row) + b[k][0]);
  const chances = (model, x) => logChances(model, x).map(Math.exp);
  const copy = (model) => structuredClone(model);
  const zeros = (rows) => rows.map((row) => row.map(() => 0));
  const blank = ({ E, W, b }) => ({ E: zeros(E), W: zeros(W), b: zeros(b) });
  const largest = (values) => values.indexOf(Math.max(...values));

  function logChances(model, x) {
    const found = scores(model, x), top = Math.max(...found);
    const total = top + Math.log(sum(found.map((score) => Math.exp(score - top))));
    return found.map((score) => score - total);
  }

  const turn = ([x, y], angle) =>
    [Math.cos(angle) * x - Math.sin(angle) * y, Math.sin(angle) * x + Math.cos(angle) * y];
  const turned = ({ E, W, b }, angle) =>
    ({ E: E.map((row) => turn(row, angle)), W: W.map((row) => turn(row, angle)), b: copy(b) });

  // The loss and its three gradients, as chapter 1 writes them: dE = G W, dW = G^T E, db = sum of G over x.
  function lossAndGradients(model, joint) {
    const gradients = blank(model);
    let loss = 0;
    joint.forEach((shares, x) => {
      logChances(model, x).forEach((logChance, k) => {
        if (shares[k] > 0) loss -= shares[k] * logChance;
        const excess = sum(shares) * Math.exp(logChance) - shares[k];  // G[x, k]
        for (const axis of AXES) {
          gradients.E[x][axis] += excess * model.W[k][axis];
          gradients.W[k][axis] += excess * model.E[x][axis];
        }
        gradients.b[k][0] += excess;
      });
    });
    return { loss, gradients };
  }

  // ---- the training ----------------------------------------------------------------------------------------------

  const newMemory = (model) => ({ updates: 0, mean: blank(model), square: blank(model) });

  // One update of every number that is not frozen; Adam's memory is kept by number.
  function update({ model, memory }, gradients, { rule, rate, freeze }) {
    memory.updates += 1;
    const corrections = [1 - B1 ** memory.updates, 1 - B2 ** memory.updates];
    for (const name of TRAINED[freeze]) {
      model[name].forEach((row, i) => row.forEach((_, j) => {
        const g = gradients[name][i][j], mean = memory.mean[name][i], square = memory.square[name][i];
        if (rule === "sgd") return void (row[j] -= rate * g);
        if (rule === "adamw") row[j] *= 1 - rate * DECAY;
        mean[j] = B1 * mean[j] + (1 - B1) * g;
        square[j] = B2 * square[j] + (1 - B2) * g * g;
        row[j] -= (rate * mean[j] / corrections[0]) / (Math.sqrt(square[j] / corrections[1]) + EPS);
      }));
    }
  }

  // ---- the state: what is trained, from where, and how it is looked at -----------------------------------------

  const state = {
    pairs: pairsOf("hello"), source: "known", start: null, arms: [], trail: [],
    updates: 0, last: null, left: 0, diverged: false, refused: "", focus: 0, angle: 0, reach: 3, held: null,
  };
  const model = () => state.arms[0].model;

  // llmlab's own numbers where the page has them, otherwise the page's: E from N(0, 1), W and b within ±1/sqrt(2).
  function startOf(size, seed) {
    let known = starts[size - 1][seed], bits = (seed + 1) * 2654435769 >>> 0;
    const uniform = () => {
      for (const shift of [13, -17, 5]) bits = (bits ^ (shift > 0 ? bits << shift : bits >>> -shift)) >>> 0;
      return bits / 2 ** 32;
    };
    const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    state.source = known ? "known" : "own";
    known ||= Array.from({ length: 5 * size }, (_, n) => n < 2 * size ? normal() : (2 * uniform() - 1) / Math.SQRT2);
    const rows = (first) => Array.from({ length: size }, (_, n) => known.slice(first + 2 * n, first + 2 * n + 2));
    return { E: rows(0), W: rows(2 * size), b: known.slice(4 * size).map((value) => [value]) };
  }

  // Begin anew from a model.  With the switch on, its twin has not been rotated and is trained beside it.
  function begin(from) {
    const twins = field("turned").checked ? [turned(from, -START_ANGLE)] : [];
    state.arms = [copy(from), ...twins].map((one) => ({ model: one, memory: newMemory(one) }));
    Object.assign(state, { start: copy(from), trail: [copy(from.E)], updates: 0, last: null, diverged: false });
  }

  // What the command refuses is refused here too: then nothing is trained, and the reason is said.
  function check() {
    const letters = [...field("text").value], fits = letters.length >= 2 && letters.length <= 8;
    field("text").setCustomValidity(!fits ? words.length : new Set(letters).size < 2 ? words.same : "");
    state.refused = field("text").validationMessage || field("seed").validationMessage;
    state.left = 0;
    if (state.arms.length) render();
  }

  function reset() {
    check();
    if (!root.querySelector("form").reportValidity()) return;
    Object.assign(state, { pairs: pairsOf(field("text").value), seed: field("seed").valueAsNumber, focus: 0 });
    const from = startOf(state.pairs.tokens.length, state.seed);
    begin(field("turned").checked ? turned(from, START_ANGLE) : from);
    makeHands();
    render();
  }

  // What a hand has set is a new start.
  function moved() {
    state.source = "by_hand";
    begin(model());
    render();
  }

  function advance() {
    const before = copy(state.arms), { joint } = state.pairs;
    const options = { rule: field("rule").value, rate: field("rate").valueAsNumber, freeze: field("freeze").value };
    const losses = state.arms.map((arm) => {
      const { loss, gradients } = lossAndGradients(arm.model, joint);
      update(arm, gradients, options);
      return loss;
    });
    const after = Math.max(...state.arms.map((arm) => lossAndGradients(arm.model, joint).loss));
    if (!(after < LARGEST_LOSS || after < losses[0])) {
      Object.assign(state, { arms: before, left: 0, diverged: true });
      return;
    }
    const { updates, left } = state;
    Object.assign(state, { updates: updates + 1, left: Math.max(0, left - 1), last: losses[0], diverged: false });
    if (state.updates <= 5 * UPDATES || state.updates % 20 === 0) state.trail.push(copy(model().E));
  }

  function frame() {
    for (let n = 0; n < A_FRAME && state.left; n += 1) advance();
    render();
    if (state.left) requestAnimationFrame(frame);
  }

  function train(updates) {
    if (!field("rate").reportValidity()) return;
    state.left = state.left ? 0 : updates;
    if (!state.left) return;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) while (state.left) advance();
    frame();
  }

  // ---- what is seen: the plane and the numbers -----------------------------------------------------------------

  const rounded = (value, digits) => Math.abs(value) < 1e4 ? value.toFixed(digits) : value.toExponential(1);
  const shown = (value, digits = 2) => rounded(value, digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
  const signed = (value) => (value < 0 ? "" : "+") + shown(value);
  const percent = (chance) => `${shown(100 * chance, 1)} %`;
  const say = (key, values) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const names = () => state.pairs.tokens.map(visible);
  const size = () => plane.clientWidth || 300;
  const toScreen = ([x, y]) => [size() * (0.5 + x / state.reach / 2), size() * (0.5 - y / state.reach / 2)];
  const fromScreen = (x, y) => [(x / size() - 0.5) * 2 * state.reach, (0.5 - y / size()) * 2 * state.reach];

  function draw(parent, name, attributes, text = "") {
    const one = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    one.textContent = text;
    return parent.appendChild(one);
  }

  const stroke = ([x1, y1], [x2, y2], kind) => draw(back, "line", { x1, y1, x2, y2, class: kind });
  const line = (from, to, kind) => stroke(toScreen(from), toScreen(to), kind);

  const back = draw(plane, "g", { "aria-hidden": "true" });  // drawn anew each time
  const front = draw(plane, "g", {});  // what hands hold: it stays, so that it keeps the focus
  let hands = [];

  function grid() {
    const end = state.reach, step = end > 5 ? 2 ** Math.floor(Math.log2(end / 2)) : 1;
    for (let value = -step * Math.floor(end / step); value <= end; value += step) {
      line([value, -end], [value, end], value ? "grid" : "axis");
      line([-end, value], [end, value], value ? "grid" : "axis");
      if (Math.abs(value) === end) continue;
      const [x, y] = toScreen([value, value]);
      draw(back, "text", { x: x + 3, y: size() - 4, class: "tick" }, shown(value, 0));
      if (value) draw(back, "text", { x: 3, y: y - 3, class: "tick" }, shown(value, 0));
    }
  }

  // Each output row as a track through zero, and on it the projection of the focus letter as a thick bar.
  function bars(seen, winner) {
    const station = seen.E[state.focus], far = 2 * state.reach;
    const order = [...seen.W.keys()].sort((a, b) => (a === winner) - (b === winner));  // the winner on top
    const labels = [];
    for (const k of order) {
      const length = Math.hypot(...seen.W[k]), kind = k === winner ? "winner" : "loser";
      if (length < 1e-9) continue;
      const unit = seen.W[k].map((value) => value / length), along = dot(station, unit);
      const at = (distance) => unit.map((value) => value * distance);
      line(at(-far), at(far), `track ${kind}`);
      line([0, 0], seen.W[k], `row ${kind}`);
      line(station, at(along), `perpendicular ${kind}`);
      line([0, 0], at(along), `bar ${kind}${along < 0 ? " negative" : ""}`);
      labels.unshift([signed(along * length), at(along), kind]);  // the winner's is written first
    }
    return labels;
  }

  // Write labels beside their points, each where it covers neither a hand nor another label.
  function write(labels, seen) {
    const box = ([x, y], half) => [x - half, y - half, x + half, y + half];
    const taken = [...seen.E, ...seen.W].map((point) => box(toScreen(point), 12));
    const clash = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
    for (const [text, point, kind] of labels) {
      const [x, y] = toScreen(point), wide = 8 * text.length, spots = [];
      for (const off of [8, 18, 30]) {
        for (const [dx, dy] of [[off, -off], [off, off + 8], [-off - wide, -off], [-off - wide, off + 8]]) {
          spots.push([x + dx, y + dy - 12, x + dx + wide, y + dy + 3]);
        }
      }
      const inside = spots.filter(([left, top, right, low]) => left > 0 && top > 0 && right < size() && low < size());
      const spot = inside.find((one) => !taken.some((other) => clash(one, other))) || inside[0] || spots[0];
      taken.push(spot);
      draw(back, "text", { x: spot[0], y: spot[3] - 3, class: `value ${kind}` }, text);
    }
  }

  // Where handles stand: one that would hide under another stands beside its point, unless it is in hand.
  function handlePoints(seen) {
    const placed = [], busy = ({ element }) => element === document.activeElement;
    const free = ([x, y]) => placed.every(({ at }) => Math.hypot(at[0] - x, at[1] - y) > WIDE);
    for (const hand of [...hands].sort((a, b) => busy(b) - busy(a))) {
      const point = toScreen(seen[hand.kind][hand.index]);
      const offsets = [0, 4, 2, 6, 1, 5, 3, 7].map((eighth) => turn([WIDE + 2, 0], eighth * Math.PI / 4));
      const spots = offsets.map(([x, y]) => [point[0] + x, point[1] + y]);
      placed.push({ ...hand, point, at: busy(hand) || free(point) ? point : spots.find(free) || point });
    }
    return placed;
  }

  function renderPlane(seen, winner) {
    const ends = [...model().E, ...model().W, ...state.start.E].map((row) => Math.hypot(...row));
    if (!state.held) state.reach = Math.max(3, Math.ceil(1.1 * Math.max(...ends) + 0.1));
    plane.setAttribute("viewBox", `0 0 ${size()} ${size()}`);
    back.replaceChildren();
    grid();
    seen.E.forEach((_, x) => {
      const way = state.trail.map((rows) => toScreen(turn(rows[x], state.angle)));
      draw(back, "polyline", { points: way.join(" "), class: "trail" });
      draw(back, "circle", { cx: way[0][0], cy: way[0][1], r: 4, class: "start" });
    });
    const labels = bars(seen, winner);
    const twins = state.arms.slice(1).flatMap((twin) => turned(twin.model, START_ANGLE + state.angle).E.map(toScreen));
    for (const [cx, cy] of twins) draw(back, "circle", { cx, cy, r: 15, class: "twin" });
    write(labels, seen);
    for (const { element, kind, index, point, at } of handlePoints(seen)) {
      const [x, y] = seen[kind][index], chosen = kind === "E" && index === state.focus;
      element.setAttribute("transform", `translate(${at})`);
      if (at !== point) stroke(point, at, "leader");
      element.classList.toggle("chosen", chosen || (kind === "W" && index === winner));
      if (kind === "E") element.setAttribute("aria-pressed", chosen);
      const values = { letter: names()[index], x: shown(x), y: shown(y) };
      element.setAttribute("aria-label", say(kind === "E" ? "station" : "row", values));
    }
  }

  function renderScores(seen, winner, probabilities) {
    [...root.querySelector("tbody").rows].forEach((row, k) => {
      const products = AXES.map((axis) => seen.E[state.focus][axis] * seen.W[k][axis]), bias = seen.b[k][0];
      const cells = { 1: shown(products[0]), 2: signed(products[1]), 4: shown(sum(products) + bias) };
      for (const [at, text] of Object.entries(cells)) row.cells[at].textContent = text;
      const input = row.querySelector("input");
      if (input !== document.activeElement) input.value = bias.toFixed(2);
      row.cells[5].style.setProperty("--share", `${100 * probabilities[k]}%`);
      put(row.cells[5].firstChild, probabilities[k], percent);
      row.classList.toggle("winner", k === winner);
    });
  }

  const put = (element, value, told = (number) => shown(number, 4)) =>
    Object.assign(element, { value: value ?? "", textContent: value === null ? "–" : told(value) });

  function renderNumbers() {
    const { focus, pairs, start, arms } = state, data = (name) => root.querySelector(`data.${name}`);
    put(data("updates"), state.updates, String);
    const losses = { loss: lossAndGradients(model(), pairs.joint).loss, floor: floorOf(pairs), last: state.last };
    for (const [name, loss] of Object.entries(losses)) put(data(name), loss);
    const next = otherAfter(pairs, focus), apart = root.querySelector(".play-apart");
    apart.hidden = next === null;
    if (next !== null) {
      apart.firstChild.textContent = say("apart", { letter: names()[focus], next: names()[next] });
      const distance = ({ E }) => Math.hypot(E[focus][0] - E[next][0], E[focus][1] - E[next][1]);
      put(data("before"), distance(start), shown);
      put(data("after"), distance(model()), shown);
    }
    root.querySelector(".play-twin").hidden = arms.length < 2;
    if (arms.length < 2) return;
    const tables = arms.map((arm) => pairs.tokens.flatMap((_, x) => chances(arm.model, x)));
    put(data("difference"), Math.max(...tables[0].map((chance, at) => Math.abs(chance - tables[1][at]))));
  }

  function render() {
    const seen = turned(model(), state.angle), { focus, left, diverged, refused, pairs } = state;
    const probabilities = chances(seen, focus), winner = largest(probabilities);
    renderPlane(seen, winner);
    renderScores(seen, winner, probabilities);
    renderNumbers();
    const answer = { letter: names()[focus], next: names()[winner], chance: percent(probabilities[winner]) };
    const text = /^\w+$/.test(pairs.text) ? pairs.text : `'${pairs.text.replaceAll("'", "'\\''")}'`;  // for a shell
    const heard = refused || (diverged ? words.diverged : say("answer", answer));
    root.querySelector("caption").textContent = heard;
    root.querySelector(".play-source").textContent = say(state.source, { text, seed: state.seed });
    field("train").textContent = left ? words.stop : words.train;
    field("step").disabled = field("train").disabled = Boolean(refused);
    if (!left) root.querySelector("[role=status]").textContent = heard;  // of a training one hears only the end
  }

  // ---- what hands do ---------------------------------------------------------------------------------------------

  // One handle per embedding and output row, and one row of the table per letter; made once for a text.
  function makeHands() {
    front.replaceChildren();
    hands = ["W", "E"].flatMap((kind) => names().map((name, index) => {
      const element = draw(front, "g", { class: kind === "E" ? "station" : "sign", tabindex: 0, role: "button" });
      draw(element, "circle", { r: 20, class: "grip" });
      if (kind === "E") draw(element, "circle", { r: 11, class: "shape" });
      else draw(element, "rect", { x: -9, y: -9, width: 18, height: 18, class: "shape" });
      draw(element, "text", { y: 4.5, "text-anchor": "middle" }, name);
      const hand = { element, kind, index };
      element.addEventListener("pointerdown", (event) => hold(hand, event));
      element.addEventListener("keydown", (event) => key(hand, event));
      for (const name of ["focus", "click"]) element.addEventListener(name, () => choose(hand));
      return hand;
    }));
    root.querySelector("tbody").replaceChildren(...names().map((name, k) => {
      const row = document.createElement("tr");
      row.innerHTML = "<th></th><td></td><td></td><td><input></td><td></td><td><data></data></td>";
      Object.assign(row.cells[0], { textContent: name, scope: "row" });
      const input = Object.assign(row.querySelector("input"), { type: "number", step: "0.01" });
      input.setAttribute("aria-label", say("bias_of", { letter: name }));
      input.addEventListener("input", () => {
        if (!Number.isFinite(input.valueAsNumber)) return;
        model().b[k][0] = input.valueAsNumber;
        moved();
      });
      input.addEventListener("blur", render);
      return row;
    }));
  }

  function choose({ kind, index }) {
    if (kind === "E") state.focus = index;
    render();
  }

  function place({ kind, index }, point) {
    model()[kind][index] = turn(point, -state.angle);
    moved();
  }

  function hold(hand, event) {
    event.preventDefault();
    state.held = hand;
    hand.element.focus();
    hand.element.setPointerCapture(event.pointerId);
  }

  function rotate(degrees) {
    state.angle = degrees * Math.PI / 180;
    field("angle").value = degrees;
    field("degrees").textContent = `${shown(degrees, 0)}°`;
    render();
  }

  function key(hand, event) {
    const step = event.shiftKey ? 0.5 : 0.1;
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (!way) return;
    event.preventDefault();
    state.held = null;  // so that the plane grows with what leaves it
    const [x, y] = turn(model()[hand.kind][hand.index], state.angle);
    place(hand, [x + way[0], y + way[1]]);
  }

  plane.addEventListener("pointermove", (event) => {
    if (!state.held) return;
    const { left, top } = plane.getBoundingClientRect();
    const inside = (value) => Math.min(size(), Math.max(0, value));
    place(state.held, fromScreen(inside(event.clientX - left), inside(event.clientY - top)));
  });
  plane.addEventListener("lostpointercapture", () => {
    state.held = null;
    render();
  });
  root.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    rotate(0);
    reset();
  });
  for (const name of ["text", "seed"]) field(name).addEventListener("input", check);
  for (const name of ["text", "seed", "turned"]) field(name).addEventListener("change", reset);
  field("angle").addEventListener("input", () => rotate(field("angle").valueAsNumber));
  field("rule").addEventListener("change", () => {
    field("rate").value = RATES[field("rule").value];
    for (const arm of state.arms) arm.memory = newMemory(arm.model);
  });
  field("step").addEventListener("click", () => train(1));
  field("train").addEventListener("click", () => train(UPDATES));
  reset();
  new ResizeObserver(render).observe(plane);
})();
