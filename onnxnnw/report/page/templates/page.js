"use strict";
(() => {
  const data = JSON.parse(document.getElementById("trials-data").textContent);
  const dialog = document.getElementById("trials");
  const about = document.getElementById("trials-about");
  const table = document.getElementById("trials-table");
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const shown = (cell) => (cell === null ? "" : Array.isArray(cell) ? data.texts[cell[0]] : String(cell));
  const show = (button) => {
    const [count, ...places] = data.groups[Number(button.dataset.trials)];
    const rows = places.map((place) => data.rows[place].map(shown));
    const used = data.header.map((_, column) => rows.some((row) => row[column] !== ""));
    const line = (cells, name) => {
      const made = document.createElement("tr");
      cells.forEach((cell, column) => {
        if (used[column]) made.append(element(name, cell, /^-?[\d.]+$/.test(cell) ? "number" : ""));
      });
      return made;
    };
    const limits = button.dataset.limits;
    about.textContent = button.textContent.trim()
      + (limits ? " (95 % limits " + limits + ")" : "")
      + " comes from " + count.toLocaleString("en") + (count === 1 ? " trial" : " trials")
      + (count > rows.length ? "; listed here: " + rows.length + ", all of them are in trials.jsonl." : ".");
    table.tHead.replaceChildren(line(data.header, "th"));
    table.tBodies[0].replaceChildren(...rows.map((row) => line(row, "td")));
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-trials]");
    if (button) show(button);
    else if (event.target === dialog) dialog.close();
  });
  const contents = document.querySelector("nav details");
  if (window.matchMedia("(max-width: 70rem)").matches) contents.open = false;
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const closed = target && (target.closest("main details") || target.querySelector("details.folded"));
    if (closed) { closed.open = true; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", reveal);
  reveal();
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")];
    opened.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => { opened.forEach((one) => { one.open = false; }); });
})();
