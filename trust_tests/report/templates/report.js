// What the page is better with: sorting, filters, links that open what they lead to, copying. Nothing needs it.
// Texts of the page are read and compared, never made markup of.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const main = document.querySelector("main");
  const lines = document.createElement("p");
  lines.className = "sr";
  lines.setAttribute("role", "status");
  main.append(lines);
  const say = (text) => { lines.textContent = text; };

  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  // Sorting. A cell's value is its data-value, else its text; cells without one stay last in both directions.
  const number = (text) => parseFloat(text.replaceAll("\u2212", "-").replace(/[,\s]/g, ""));
  const words = new Intl.Collator("en", { numeric: true });

  function sort(table, head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    const numeric = head.dataset.sort === "number";
    const value = (row) => {
      const cell = row.cells[head.cellIndex];
      const text = cell ? (cell.dataset.value ?? cell.textContent).trim() : "";
      return numeric ? number(text) : text;
    };
    const missing = (found) => numeric ? Number.isNaN(found) : found === "";
    const order = (one, other) => {
      const gaps = missing(one) - missing(other);
      if (gaps || missing(one)) return gaps;
      return (down ? -1 : 1) * (numeric ? one - other : words.compare(one, other));
    };
    for (const body of table.tBodies) {
      const pinned = [...body.rows].filter((row) => "pinned" in row.dataset);
      const loose = [...body.rows].filter((row) => !("pinned" in row.dataset)).map((row) => [value(row), row]);
      loose.sort(([one], [other]) => order(one, other));
      body.append(...pinned, ...loose.map(([, row]) => row));
    }
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    say(`Sorted by ${head.textContent.trim()}, ${down ? "descending" : "ascending"}.`);
  }

  for (const table of all("table[data-sortable]")) {
    for (const head of all("thead th[data-sort]", table)) {
      const made = button("", () => sort(table, head));
      made.className = "sort";
      made.append(...head.childNodes);
      head.append(made);
    }
  }

  // Filters. What does not fit is hidden: gates, their rows in the tables, and the answers and cells inside.
  const filters = document.getElementById("filters");
  const fields = filters ? all("[data-filter]", filters) : [];
  const gates = all(".gate");
  const rows = new Map(all(".gates tbody a").map((link) => [link.hash.slice(1), link.closest("tr")]));
  const read = (element) => element.textContent.toLowerCase();

  function inside(gate, want) {
    let found = 0;
    for (const flip of all(".flip", gate)) {
      const fits = (!want.channel || all(".channel", flip).some((channel) => read(channel) === want.channel))
        && (!want.cell || read(flip.querySelector(".cell")).includes(want.cell));
      flip.hidden = !fits;
      found += fits;
    }
    for (const row of all(".cells tbody tr", gate)) {
      row.hidden = Boolean(want.cell) && !read(row.cells[0]).includes(want.cell);
      found += !row.hidden;
    }
    return found;
  }

  function filter() {
    const want = Object.fromEntries(fields.map((field) => [field.dataset.filter, field.value.trim().toLowerCase()]));
    const any = Object.values(want).some(Boolean);
    for (const gate of gates) {
      const found = inside(gate, want);
      const fits = (!want.dimension || gate.closest(".dimension").id === want.dimension)
        && (!want.verdict || gate.classList.contains(want.verdict))
        && (!want.channel || gate.dataset.channels.split(", ").includes(want.channel))
        && (!want.cell || found > 0);
      gate.hidden = !fits;
      const row = rows.get(gate.querySelector(".body").id);
      if (row) row.hidden = !fits;
    }
    for (const dimension of all(".dimension")) {
      const left = all(".gate", dimension).some((gate) => !gate.hidden);
      dimension.hidden = any && !left;
      if (any && left) dimension.open = true;
    }
    const kept = gates.filter((gate) => !gate.hidden);
    const answers = kept.flatMap((gate) => all(".flip", gate)).filter((flip) => !flip.hidden);
    const noun = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
    const text = `${kept.length} of ${noun(gates.length, "gate")}, with ${noun(answers.length, "answer")} on this page.`;
    filters.querySelector("[data-count]").textContent = text;
    say(text);
  }

  // Harmful texts stay behind their own click.
  const fold = (open) => {
    for (const details of all("#gates .dimension, #gates .gate, #gates .more")) {
      if (!details.closest("[hidden]")) details.open = open;
    }
  };

  if (filters) {
    filters.hidden = false;
    for (const field of fields) field.addEventListener("input", filter);
    const acts = { open: () => fold(true), close: () => fold(false), reset: () => reset() };
    for (const made of all("[data-do]", filters)) made.addEventListener("click", acts[made.dataset.do]);
  }

  function reset() {
    for (const field of fields) field.value = "";
    filter();
  }

  // A link into something folded or filtered away opens it.
  function reveal(hash) {
    const target = hash.length > 1 ? document.getElementById(hash.slice(1)) : null;
    if (!target) return;
    if (target.closest("[hidden]") && filters) reset();
    for (let element = target; element; element = element.parentElement) {
      if (element.localName === "details") element.open = true;
    }
    target.scrollIntoView();
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) setTimeout(() => reveal(link.hash));
  });
  window.addEventListener("hashchange", () => reveal(location.hash));
  reveal(location.hash);

  for (const text of navigator.clipboard ? all("[data-copy]") : []) {
    const copied = () => say("Copied.");
    const refused = () => { getSelection().selectAllChildren(text); say("Not allowed to copy; the text is selected."); };
    const made = button("Copy", () => navigator.clipboard.writeText(text.textContent).then(copied, refused));
    made.className = "copy";
    text.parentElement.before(made);
  }
})();
