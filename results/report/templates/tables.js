// Tables: sorted by the heading that is clicked, filtered by a text. Folded parts open in print.
const sortKey = (row, column) => {
  const cell = row.cells[column];
  const order = cell.dataset.order;
  return order === undefined ? cell.textContent.trim() : Number(order.replace("inf", "Infinity"));
};

const compareKeys = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
};

const sortTable = (table, column) => {
  const heads = [...table.tHead.rows[0].cells];
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  const sign = descending ? -1 : 1;
  table.classList.add("sorted");
  [...table.tBodies[0].rows]
    .sort((x, y) => sign * compareKeys(sortKey(x, column), sortKey(y, column)))
    .forEach((row) => table.tBodies[0].append(row));
};

const addFilter = (figure, table) => {
  const rows = [...table.tBodies[0].rows];
  const caption = figure.querySelector("figcaption");
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Filter";
  input.setAttribute("aria-label", `Filter rows of ${caption.querySelector("span").textContent}`);
  const left = document.createElement("span");
  left.className = "sr";
  left.setAttribute("role", "status");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
    left.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  });
  const box = document.createElement("div");
  box.className = "filter";
  box.append(input, left);
  caption.querySelector(".download").before(box);
};

const FILTER_FROM = 5;

document.querySelectorAll("figure.table").forEach((figure) => {
  const table = figure.querySelector("table.sortable");
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.addEventListener("click", () => sortTable(table, column));
  });
  if (table.tBodies[0].rows.length >= FILTER_FROM) addFilter(figure, table);
});

// Paper shows everything; afterwards what was closed is closed again.
let openedForPrint = [];

window.addEventListener("beforeprint", () => {
  openedForPrint = [...document.querySelectorAll("details:not([open])")];
  openedForPrint.forEach((details) => { details.open = true; });
});

window.addEventListener("afterprint", () => {
  openedForPrint.forEach((details) => { details.open = false; });
  openedForPrint = [];
});

// A link to something that is folded opens what it is folded in.
const unfold = () => {
  let element = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const target = element;
  for (; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
  if (target) target.scrollIntoView();
};

window.addEventListener("hashchange", unfold);
if (location.hash) unfold();
