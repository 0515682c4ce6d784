"use strict";
/* Filters and sorts the rows; without it, the page is the same list. */
const body = document.querySelector("tbody"), rows = [...body.rows], heads = [...document.querySelectorAll("th[data-kind]")];
const filter = document.getElementById("filter"), shown = document.getElementById("shown");
const texts = rows.map((row) => row.textContent.toLowerCase());

filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  rows.forEach((row, index) => {
    row.hidden = !words.every((word) => texts[index].includes(word));
    count += !row.hidden;
  });
  shown.textContent = count === rows.length ? `${count} videos` : `${count} of ${rows.length} videos`;
});

/* Figures begin with the largest; the state begins with what wants a person. A second press turns the order round. */
function sort(head) {
  const column = heads.indexOf(head), numeric = head.dataset.kind === "number";
  const first = numeric && head.classList.contains("figure") ? "descending" : "ascending";
  const other = first === "descending" ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? other : first, sign = order === "ascending" ? 1 : -1;
  const value = (row) => (numeric ? Number(row.cells[column].dataset.value) : row.cells[column].dataset.value);
  const keyed = rows.map((row) => [value(row), row]);
  const text = new Intl.Collator("en", { numeric: true });
  keyed.sort(([one], [two]) => sign * (numeric ? one - two : text.compare(one, two)));
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  body.append(...keyed.map(([, row]) => row));
}
heads.forEach((head) => head.firstElementChild.addEventListener("click", () => sort(head)));
