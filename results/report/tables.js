// Sort a table by the column whose heading is clicked; open all details for printing.
document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    const order = cell.dataset.order;
    if (order === undefined) return cell.textContent.trim();
    return Number(order.replace("inf", "Infinity"));
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a === b ? 0 : a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
  table.querySelectorAll("thead th").forEach((head, column) => {
    head.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sign = descending ? -1 : 1;
      [...body.rows]
        .sort((x, y) => sign * compare(key(x, column), key(y, column)))
        .forEach((row) => body.append(row));
    });
  });
});
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
