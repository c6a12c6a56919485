"use strict";
// Filters of a page: by task what is drawn on all of it, and by task, class and score the images of the gallery.
const AT_ONCE = 100;  // images of the gallery that are shown, and added by its button
const controls = document.querySelector(".filters");
const names = ["task", "class", "from", "to"];
const fields = Object.fromEntries(names.map(name => [name, document.getElementById("filter-" + name)]));
const data = document.getElementById("gallery-images");
const body = document.querySelector(".gallery tbody");
const more = document.querySelector(".gallery button");
const rule = document.head.appendChild(document.createElement("style"));
const rows = body ? [...body.rows] : [];
const images = data ? JSON.parse(data.textContent).map(([labels, markup], i) => ({labels, markup, row: rows[i]})) : [];
let wanted = AT_ONCE;

function chosen(name) {
  return fields[name] ? fields[name].value : "";
}

function score(name, otherwise) {
  const value = parseFloat(chosen(name));
  return Number.isNaN(value) ? otherwise : value;
}

// Images begin as markup: a browser lays out a few rows at once, and not ten thousand.
function rowOf(image) {
  if (!image.row) {
    const template = document.createElement("template");
    template.innerHTML = image.markup;
    image.row = template.content.firstElementChild;
  }
  return image.row;
}

function showTask(task) {
  rule.textContent = task && `[data-task]:not([data-task="${CSS.escape(task)}"]) { display: none !important; }`;
  for (const table of document.querySelectorAll(".pictures")) {
    const columns = [...table.tHead.rows[0].cells];
    const shown = columns.filter(cell => !task || !cell.dataset.task || cell.dataset.task === task);
    table.style.setProperty("--columns", shown.length);
  }
  if (fields.class)
    for (const group of fields.class.querySelectorAll("optgroup"))
      group.hidden = group.disabled = task !== "" && group.label !== task;
}

function showImages(task) {
  const name = chosen("class"), from = score("from", 0), to = score("to", 1);
  const any = from <= 0 && to >= 1;  // a label without a score fits as well
  const all = !task && !name && any;
  const found = images.filter(({labels}) => all || labels.some(([of, label, score]) =>
    (!task || of === task) && (!name || `${of}/${label}` === name) &&
    (any || (score !== null && score >= from && score <= to))));
  body.replaceChildren(...found.slice(0, wanted).map(rowOf));
  const first = found.length > wanted ? `; the first ${wanted} are shown` : "";
  document.getElementById("filter-count").textContent = `${found.length} of ${images.length} images${first}`;
  more.hidden = found.length <= wanted;
}

function show() {
  const task = chosen("task");
  showTask(task);
  if (fields.class && fields.class.selectedOptions[0].parentNode.disabled) fields.class.value = "";
  if (images.length) showImages(task);
}

function follow() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, field] of Object.entries(fields))
    if (field && given.has(name)) field.value = given.get(name);
  for (const name of ["task", "class"])  // one that is not on this page
    if (fields[name] && fields[name].selectedIndex < 0) fields[name].value = "";
  wanted = AT_ONCE;
  show();
}

if (controls) {
  const tasks = new Set([...document.querySelectorAll("[data-task]")].map(element => element.dataset.task));
  for (const task of tasks) fields.task.add(new Option(task, task));
  fields.task.parentNode.hidden = tasks.size < 2;
  controls.hidden = tasks.size < 2 && !images.length;
  controls.addEventListener("input", () => { wanted = AT_ONCE; show(); });
  window.addEventListener("hashchange", follow);
  if (more) more.addEventListener("click", () => {
    const last = body.rows.length;
    wanted += AT_ONCE;
    show();
    const heading = body.rows[last].cells[0];  // the button may be gone, and the focus with it
    heading.tabIndex = -1;
    heading.focus({preventScroll: true});
  });
  follow();
}
