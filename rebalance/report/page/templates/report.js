"use strict";
(() => {
  const MOST = 250; // rows of a long table that are laid out at once; the rest is a button away

  const order = new Intl.Collator("en", { numeric: true });

  /** What a cell is sorted by: a number, a text, or null for a dash, which comes last either way. */
  function key(cell, kind) {
    const text = cell.dataset.value ?? cell.firstChild?.textContent ?? "";
    if (kind === "text") return text;
    const number = Number(text.replaceAll(",", "").replace("−", "-"));
    return text.trim() === "" || Number.isNaN(number) ? null : number;
  }

  function compare(a, b) {
    return typeof a === "number" ? a - b : order.compare(a, b);
  }

  /** The rows in the order of one column; rows that are equal keep theirs. */
  function sorted(rows, column, kind, sign) {
    const keyed = rows.map((row) => ({ row, key: key(row.cells[column], kind) }));
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * compare(a.key, b.key);
    });
    return keyed.map((entry) => entry.row);
  }

  /** Makes the headings of a table into buttons that sort its rows; `changed(rows)` gets them in their new order. */
  function sortable(table, given, changed) {
    const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const now = heading.getAttribute("aria-sort");
        const next = now === "ascending" ? "descending" : now === "descending" ? "ascending" : heading.dataset.first;
        for (const other of headings) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", next);
        changed(sorted(given, column, heading.dataset.sort, next === "ascending" ? 1 : -1));
      });
    });
  }

  function fill(body, rows) {
    const fragment = document.createDocumentFragment();
    for (const row of rows) fragment.append(row);
    body.replaceChildren(fragment);
  }

  /** Shows the classes that are searched for, the first of them where they are many; gives what a sort calls. */
  function classes(body, given) {
    const named = body.querySelector("td + th") !== null;
    const search = document.getElementById("search");
    const all = document.getElementById("all");
    const shown = document.getElementById("shown");
    let rows = given;
    const total = given.length;
    const texts = new Map(
      given.map((row) => [row, [row.cells[0].textContent, named ? row.cells[1].textContent.toLocaleLowerCase() : ""]]),
    );
    let most = MOST;

    function show() {
      const typed = search.value.trim();
      const query = typed.toLocaleLowerCase();
      const found = query === "" ? rows : rows.filter((row) => {
        const [id, name] = texts.get(row);
        return id === query || name.includes(query);
      });
      const seen = found.slice(0, most);
      fill(body, seen);
      const matching = query === "" ? "classes" : `matching “${typed}” (${total.toLocaleString("en")} in all)`;
      const count = found.length.toLocaleString("en");
      shown.textContent = seen.length < found.length
        ? `${seen.length} of ${count} ${matching} shown`
        : `${count} ${matching}`;
      all.hidden = seen.length === found.length;
      all.textContent = `Show all ${count}`;
    }

    search.addEventListener("input", show);
    all.addEventListener("click", () => {
      most = Infinity;
      show();
    });
    document.querySelector(".controls").hidden = false;
    show();
    return (next) => {
      rows = next;
      most = MOST; // laying thousands of rows out takes seconds
      show();
    };
  }

  /** Says at a box whether there is more of its table to the right and to the left. */
  function edges(box) {
    const show = () => {
      const rest = box.scrollWidth - box.clientWidth - box.scrollLeft;
      box.classList.toggle("more", rest > 1);
      box.classList.toggle("begun", box.scrollLeft > 1);
    };
    box.addEventListener("scroll", show, { passive: true });
    const resized = new ResizeObserver(show);
    resized.observe(box);
    resized.observe(box.querySelector("table"));
  }

  document.querySelectorAll(".box").forEach(edges);
  for (const table of document.querySelectorAll("table.sortable")) {
    const [body] = table.tBodies; // failed methods are in a second one, which stays below
    const given = [...body.rows];
    sortable(table, given, table.id === "per-class" ? classes(body, given) : (rows) => fill(body, rows));
  }
})();
