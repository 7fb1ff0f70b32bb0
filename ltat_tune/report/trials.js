// Opens trials, compares two, sorts and filters their tables, and keeps all that over an update.
"use strict";
(() => {
  const cards = JSON.parse(document.getElementById("trial-cards").textContent);
  const trials = cards.trials || {};
  const INK = "#1b1d21", MUTED = "#5c636d", GRID = "#e2e5e9";
  const LINES = ["#D55E00", "#0072B2", "#009E73", "#CC79A7"];
  const dialog = document.getElementById("card");
  const tables = [...document.querySelectorAll("table[data-trials], table[data-sortable]")];
  const all = document.getElementById("trials");
  const STORE = `ltat-tune ${cards.study || document.title}`;
  const kept = { pins: [], sorts: {}, words: "", state: "", paused: false, folds: [], ...stored() };
  kept.pins = kept.pins.filter((name) => trials[name]);

  function stored() {
    try {
      return JSON.parse(sessionStorage.getItem(STORE)) || {};
    } catch {
      return {};
    }
  }

  function keep() {
    try {
      sessionStorage.setItem(STORE, JSON.stringify(kept));
    } catch { /* a browser that stores nothing forgets at the next update */ }
  }

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== false) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }

  // -- one trial, and two beside each other ------------------------------------------------------

  function open(...names) {
    const shown = names.map((name) => trials[name]);
    const title = shown.length === 1 ? shown[0].title
      : shown[0].scenario === shown[1].scenario ? `${shown[0].name} and ${shown[1].title}`
        : `${shown[0].title} and ${shown[1].title}`;
    const marks = shown.length > 1 ? "" : shown[0].marks.map((mark) => ` · ${mark}`).join("");
    const heading = make("h2", { id: "card-title", tabindex: "-1" }, title + marks);
    const plot = make("div", { class: "plot" });
    dialog.replaceChildren(
      make("div", { class: "bar" },
        ...(shown.length > 1 ? [] : [pinButton(names[0], true)]),
        make("button", { type: "button", onclick: () => dialog.close() }, "Close")),
      heading,
      ...(shown.length > 1 ? [] : [why(shown[0])]),
      make("div", { class: "side" }, grid("Parameters", shown, "params"), grid("How it went", shown, "facts")),
      plot,
      scores(shown),
      ...shown.map(files),
    );
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    heading.focus();
    draw(plot, shown);
  }

  function why(card) {
    if (!card.why) return make("span");
    const stopped = card.facts["how it ended"] === "stopped early" ? "Why it was stopped: " : "";
    return make("p", { class: "loud" }, `${stopped}${card.why}.`.replace(/\.\.$/, "."));
  }

  function grid(caption, shown, part) {
    const keys = Object.keys(shown[0][part]);
    for (const card of shown) {
      for (const key of Object.keys(card[part])) if (!keys.includes(key)) keys.push(key);
    }
    const head = make("tr", {}, make("th", { scope: "col" }, "what"),
      ...shown.map((card) => make("th", { scope: "col" }, card.name)));
    const rows = keys.map((key) => {
      const values = shown.map((card) => card[part][key] ?? "–");
      const differs = part === "params" && new Set(values).size > 1;
      const told = differs ? [make("span", { class: "unseen" }, " (differs)")] : [];
      return make("tr", differs ? { class: "strong" } : {},
        make("th", { scope: "row" }, key, ...told),
        ...values.map((value) => make("td", {}, value)));
    });
    return make("table", {}, make("caption", {}, caption), make("thead", {}, head),
      make("tbody", {}, ...rows));
  }

  const lineOf = (card, curve) => (curve.name ? `${card.name}, ${curve.name}` : card.name);

  function scores(shown) {
    const lines = shown.flatMap((card) => card.curves.map((curve) => make("tr", {},
      make("th", { scope: "row" }, lineOf(card, curve)),
      make("td", {}, curve.epochs.map((e, i) => `${e}: ${curve.texts[i]}`).join(", ")))));
    if (!lines.length) return make("p", { class: "quiet" }, "No score was measured.");
    return make("details", {}, make("summary", {}, "Scores in % by epoch"),
      make("table", {}, make("tbody", {}, ...lines)));
  }

  function files(card) {
    const items = card.files.map(({ path, link }) => make("li", {},
      link ? make("a", { href: link }, path) : path));
    return make("div", {}, make("h3", {}, `Files of ${card.name}`),
      items.length ? make("ul", {}, ...items) : make("p", { class: "quiet" }, "It left no files."),
      make("pre", { class: "scroll", tabindex: "0", role: "region", "aria-label": "command" },
        make("code", {}, card.command)));
  }

  function draw(place, shown) {
    const traces = shown.flatMap((card, which) => card.curves.map((curve, i) => ({
      x: curve.epochs, y: curve.scores, mode: "lines+markers", name: lineOf(card, curve),
      line: { color: LINES[(which + 2 * (shown.length === 1 ? i : 0)) % LINES.length], width: 2.2,
        dash: curve.name ? "dot" : "solid" },
      hovertemplate: "%{y:.1f} % at epoch %{x}<extra></extra>",
    })));
    if (!traces.length || typeof Plotly === "undefined") {
      place.remove();
      return;
    }
    const least = shown[0].thresholds;
    if (least.length) {
      traces.push({
        x: least.flatMap(([epoch]) => [epoch - 0.35, epoch + 0.35, null]),
        y: least.flatMap(([, score]) => [score, score, null]),
        mode: "lines", name: "threshold now", line: { color: INK, width: 4 },
        hovertemplate: "threshold: %{y:.1f} %<extra></extra>",
      });
    }
    const axis = { gridcolor: GRID, linecolor: GRID, zeroline: false, showline: true,
      tickfont: { color: INK }, automargin: true };
    const layout = { height: 300, margin: { l: 50, r: 10, t: 10, b: 40 }, showlegend: true,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: INK, size: 12 },
      legend: { orientation: "h", y: -0.22, yanchor: "top", x: 0 },
      xaxis: { ...axis, title: { text: "epoch", font: { color: MUTED } }, range: [0, cards.epochs] },
      yaxis: { ...axis, title: { text: "score, %", font: { color: MUTED } } } };
    const figure = JSON.parse(window.inColours(JSON.stringify({ traces, layout })));
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", `Score over the epochs of ${shown.map((c) => c.name).join(" and ")}; the list of scores has the same numbers`);
    Plotly.newPlot(place, figure.traces, figure.layout, { displayModeBar: false, responsive: true });
  }

  // -- pins --------------------------------------------------------------------------------------

  function pinButton(name, long) {
    const text = long ? "Pin to compare" : "pin";
    const button = make("button", { type: "button", class: "pin", "data-pin": name,
      "aria-label": `Pin ${trials[name].name} to compare`,
      onclick: () => {
        const held = kept.pins.includes(name);
        kept.pins = held ? kept.pins.filter((one) => one !== name) : [...kept.pins, name].slice(-2);
        keep();
        showPins();
      } }, text);
    button.setAttribute("aria-pressed", kept.pins.includes(name));
    return button;
  }

  const pinned = make("div", { id: "pinned", role: "region", "aria-label": "Pinned trials" });
  document.body.append(pinned);

  function showPins() {
    for (const button of document.querySelectorAll("[data-pin]")) {
      button.setAttribute("aria-pressed", kept.pins.includes(button.dataset.pin));
    }
    const two = kept.pins.length === 2;
    const items = kept.pins.map((name) => make("button", { type: "button",
      onclick: () => open(name) }, trials[name].title));
    const compare = two
      ? [make("button", { type: "button", class: "main", onclick: () => open(...kept.pins) }, "Compare")]
      : [make("span", { class: "quiet" }, "Pin a second trial to compare them.")];
    const none = make("button", { type: "button", onclick: () => {
      kept.pins = [];
      keep();
      showPins();
    } }, "Unpin");
    pinned.replaceChildren(...(items.length ? [...items, ...compare, none] : []));
    pinned.hidden = !items.length;
  }

  // -- tables: open a row, sort, filter ----------------------------------------------------------

  function amount(text) {
    const number = parseFloat(text.replace(/^[^\d+-]*/, ""));
    return /^[\d+-]/.test(text) && !Number.isNaN(number) ? number : null;
  }

  function order(table, column, direction) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => {
      const text = (row.cells[column].dataset.text ?? row.cells[column].textContent).trim();
      return { row, place, text, number: amount(text) };
    });
    const empty = (one) => one.text === "–" || !one.text;
    rows.sort((a, b) => {
      if (empty(a) !== empty(b)) return empty(a) ? 1 : -1; // what is missing stands last
      const by = a.number !== null && b.number !== null
        ? a.number - b.number : a.text.localeCompare(b.text);
      return direction * by || a.place - b.place;
    });
    body.append(...rows.map((one) => one.row));
    for (const [place, cell] of [...table.tHead.rows[0].cells].entries()) {
      if (place === column) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    }
  }

  for (const [which, table] of tables.entries()) {
    for (const row of table.tBodies[0].rows) {
      const name = row.dataset.trial;
      if (!trials[name]) continue;
      const cell = row.cells[0];
      cell.dataset.text = cell.textContent;
      const opener = make("button", { type: "button", class: "open", "data-open": `${which} ${name}`,
        onclick: () => open(name) }, cell.textContent);
      cell.replaceChildren(opener);
      const marks = trials[name].marks.filter(() => all && all.contains(table));
      if (marks.length) cell.append(make("span", { class: "mark" }, ` ${marks.join(", ")}`));
      if (all && all.contains(table)) cell.append(" ", pinButton(name, false));
      row.addEventListener("click", (event) => {
        if (!event.target.closest("button, a") && !String(getSelection())) open(name);
      });
    }
    const heads = [...table.tHead.rows[0].cells];
    for (const [column, cell] of heads.entries()) {
      const button = make("button", { type: "button", class: "sort" }, ...cell.childNodes);
      button.addEventListener("click", () => {
        const [last, direction] = kept.sorts[which] || [];
        const first = cell.classList.contains("number") ? -1 : 1;
        const next = last === column ? -direction : first;
        kept.sorts[which] = [column, next];
        keep();
        order(table, column, next);
      });
      cell.append(button);
    }
    if (kept.sorts[which] && kept.sorts[which][0] < heads.length) order(table, ...kept.sorts[which]);
  }

  function filter() {
    const words = kept.words.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, total = 0;
    for (const table of tables.filter((one) => all.contains(one))) {
      for (const row of table.tBodies[0].rows) {
        const card = trials[row.dataset.trial];
        const values = card ? Object.entries(card.params).map(([k, v]) => `${k}=${v}`).join(" ") : "";
        const text = `${row.textContent} ${values}`.toLowerCase();
        const fits = words.every((word) => text.includes(word))
          && (!kept.state || (card && card.facts["how it ended"] === kept.state));
        row.hidden = !fits;
        shown += fits;
        total += 1;
      }
    }
    return kept.words || kept.state ? `${shown} of ${total} trials` : `${total} trials`;
  }

  function addFilter() {
    const states = [...new Set(Object.values(trials).map((card) => card.facts["how it ended"]))];
    const told = make("span", { role: "status" });
    const show = () => {
      keep();
      told.textContent = filter();
    };
    const words = make("input", { type: "search", id: "words", value: kept.words,
      placeholder: "t0003, srat, loss.name=ldam",
      oninput: (event) => { kept.words = event.target.value; show(); } });
    const state = make("select", { id: "state",
      onchange: (event) => { kept.state = event.target.value; show(); } },
    make("option", { value: "" }, "all"), ...states.map((one) => make("option", { value: one }, one)));
    state.value = states.includes(kept.state) ? kept.state : "";
    kept.state = state.value;
    all.querySelector("h2").after(make("div", { class: "filter" },
      make("label", { for: "words" }, "Trials with ", words),
      make("label", { for: "state" }, "that ended ", state), told),
    make("p", { class: "quiet hint" }, "A trial's name, its row, or a click on its point in a plot opens it. A column's title sorts."));
    show();
  }

  // -- updates -----------------------------------------------------------------------------------

  function watch(line) {
    const every = Number(line.dataset.every), written = Number(line.dataset.written);
    const text = line.firstElementChild;
    const next = Date.now() / 1000 + every;
    const pause = make("button", { type: "button", onclick: () => {
      kept.paused = !kept.paused;
      keep();
      tell();
    } });
    const busy = () => dialog.open || document.activeElement.matches("input, select");
    function tell() {
      const age = Date.now() / 1000 - written;
      const at = new Date(1000 * written).toTimeString().slice(0, 8);
      pause.textContent = kept.paused ? "Update again" : "Pause updates";
      text.textContent = age > 3 * every + 60
        ? `Not written since ${at}. Is \`ltat-tune report --watch\` still running?`
        : kept.paused ? `As of ${at}. Updates are paused.` : `As of ${at}. Updated every ${every} s.`;
    }
    line.append(" ", pause);
    tell();
    setInterval(() => {
      tell();
      if (kept.paused || document.hidden || busy() || Date.now() / 1000 < next) return;
      kept.focus = document.activeElement.dataset.open || "";
      kept.folds = [...document.querySelectorAll("main details")].flatMap(
        (one, place) => (one.open ? [place] : []));
      keep();
      location.reload();
    }, 1000);
  }

  function news() {
    const place = document.getElementById("news");
    const ended = Object.keys(trials).filter((name) => !trials[name].running);
    if (place && kept.ended) {
      const fresh = ended.filter((name) => !kept.ended.includes(name));
      const told = fresh.slice(0, 6).map((name) => trials[name].news).join(", ");
      const more = fresh.length > 6 ? ` and ${fresh.length - 6} more` : "";
      place.textContent = fresh.length ? `Since the last update: ${told}${more}.` : "";
    }
    kept.ended = ended;
    keep();
  }

  // ----------------------------------------------------------------------------------------------

  document.addEventListener("trial", ({ detail }) => {
    if (typeof detail === "string" && trials[detail]) open(detail);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside the card
  });
  const line = document.getElementById("live");
  if (all && tables.some((one) => all.contains(one))) addFilter();
  showPins();
  news();
  if (line) watch(line);
  [...document.querySelectorAll("main details")].forEach((one, place) => {
    if (kept.folds.includes(place)) one.open = true;
  });
  if (kept.focus) {
    const again = [...document.querySelectorAll("[data-open]")].find((b) => b.dataset.open === kept.focus);
    if (again) again.focus({ preventScroll: true });
    kept.focus = "";
  }
})();
