// Everything a server or a file says is put in as text, never as markup.
export const $ = (id) => document.getElementById(id);

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The endpoint does not answer. Check that it runs, and try again.");
  }
  const document_ = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(sentence(document_.detail || `The endpoint answered ${response.status}.`));
  return document_;
}

export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// A table with a heading for each column; a column's class is that of its cells too.
export function table(columns, rows, name) {
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const [title, kind] of columns) {
    const cell = element("th", title, kind);
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const cells of rows) body.append(row(cells, columns));
  const scroller = element("div", "", "scroll");
  scroller.tabIndex = 0;
  scroller.setAttribute("role", "region");
  scroller.setAttribute("aria-label", name);
  scroller.append(made);
  return scroller;
}

function row(cells, columns) {
  const made = element("tr");
  cells.forEach((content, place) => {
    const cell = element(place ? "td" : "th", "", columns[place][1]);
    if (!place) cell.scope = "row";
    cell.append(content);
    made.append(cell);
  });
  return made;
}
