import { $, ask, element, table } from "/page/common.js";

const COLOURS = 8;
let file = null;
let colours = {};
let asked = 0;

const percent = (confidence) => `${confidence.toFixed(1)} %`;

// The list of models

async function showModels() {
  $("list").setAttribute("aria-busy", "true");
  try {
    const { environment, models } = await ask("/v1/models");
    $("models-title").textContent = environment ? `Models in ${environment}` : "Models";
    $("list").replaceChildren(...(models.length ? models.map(modelCard) : [noModels(environment)]));
    fillChoice(models);
  } catch (error) {
    $("list").replaceChildren(element("p", error.message, "trouble"));
  }
  $("list").setAttribute("aria-busy", "false");
}

function noModels(environment) {
  const told = element("p", environment ? `Nothing stands in ${environment} yet. ` : "No models yet. ", "quiet");
  if (environment) told.append(element("code", `keeneye promote NAME --to ${environment}`), " puts a version there.");
  else told.append(element("code", "keeneye train --data.source photos"), " makes one.");
  return told;
}

function modelCard(model) {
  const card = element("article");
  const head = element("div", "", "row");
  head.append(element("h3", model.name), element("span", model.task || "task unknown", "tag"));
  card.append(head, aliasList(model.aliases), versionTable(model));
  return card;
}

function aliasList(aliases) {
  if (!aliases.length) return element("p", "No alias points to a version.", "quiet");
  const list = element("ul", "", "aliases");
  for (const one of aliases) {
    const item = element("li");
    item.append(element("b", one.alias), ` is version ${one.version} `, stateTag(one.state));
    list.append(item);
  }
  return list;
}

const STATES = { NOT_STARTED: "not started" };
const stateTag = (state) => element("span", STATES[state] || state.toLowerCase(), `tag ${state.toLowerCase()}`);

const FIGURES = {
  classification: [["Macro F1", "test.macro_f1"], ["Accuracy", "test.accuracy"]],
  "any labels": [["Macro F1", "test.macro_f1"], ["Exact match", "test.exact_match"]],
  detection: [["mAP50", "test.map_50"], ["Macro F1", "test.macro_f1"]],
  anomaly: [["Image AUROC", "test.image_auroc"], ["Recall", "test.macro_recall"]],
};

function versionTable(model) {
  if (!model.versions.length) return element("p", "No version.", "quiet");
  const isMultiLabel = "test.exact_match" in model.versions[0].metrics;
  const figures = FIGURES[isMultiLabel ? "any labels" : model.task] || [];
  const titles = figures.map(([title]) => [title, "number"]);
  const columns = [["Version", ""], ["State", ""], ["Gate", ""], ...titles, ["Made", "date"]];
  const rows = model.versions.map((version) => versionCells(version, figures));
  return table(columns, rows, `Versions of ${model.name}`);
}

function versionCells(version, figures) {
  const values = figures.map(([, name]) => {
    const value = version.metrics[name];
    return value == null ? "none" : value.toFixed(3);
  });
  const moment = new Date(version.created_ms).toISOString();
  const made = element("span", moment.slice(0, 10));
  made.title = moment;
  return [version.version, stateTag(version.state), version.status || "none", ...values, made];
}

function fillChoice(models) {
  const before = $("model").value;
  const groups = models.map((model) => {
    const group = element("optgroup");
    group.label = model.name;
    const aliases = model.aliases.map((one) => choice(model.name, one.alias, one.state, ` (version ${one.version})`));
    const running = model.versions.filter((one) => one.state === "RUNNING");
    group.append(...aliases, ...running.map((one) => choice(model.name, one.version, one.state)));
    return group;
  }).filter((group) => group.children.length);
  $("model").replaceChildren(...groups);
  $("model").disabled = !groups.length;
  if (!groups.length) $("model").append(element("option", "No alias, and no running version"));
  else if (before) $("model").value = before;
  if ($("model").selectedIndex < 0) $("model").selectedIndex = 0;
}

function choice(name, qualifier, state, more = "") {
  const one = element("option", `${name}@${qualifier}${more}${state === "RUNNING" ? "" : `, ${state.toLowerCase()}`}`);
  one.value = `${encodeURIComponent(name)}@${encodeURIComponent(qualifier)}`;
  return one;
}

// One image

function take(chosen) {
  if (!chosen) return;
  file = chosen;
  URL.revokeObjectURL($("image").src);
  $("image").src = URL.createObjectURL(file);
  predict();
}

async function predict() {
  if (!file || $("model").disabled) return;
  const mine = ++asked;
  const limit = $("given").checked ? `?min_confidence=${$("confidence").value}` : "";
  $("ask").setAttribute("aria-busy", "true");
  try {
    const answer = await ask(`/v1/models/${$("model").value}:predict${limit}`, {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: file,
    });
    if (mine === asked) showAnswer(answer);
  } catch (error) {
    if (mine === asked) showTrouble(error.message);
  }
  if (mine === asked) $("ask").removeAttribute("aria-busy");
}

function showTrouble(text) {
  $("result").hidden = true;
  $("trouble").hidden = false;
  $("trouble").textContent = `${file.name}: ${text}`;
}

function showAnswer(answer) {
  $("trouble").hidden = true;
  $("result").hidden = false;
  colours = Object.fromEntries(Object.keys(answer.confidences).sort().map((label, place) => [label, place % COLOURS]));
  const found = answer.task === "detection" ? answer.boxes : answer.labels;
  $("verdict").textContent = verdict(answer, found);
  $("caption").textContent = `${file.name}, ${answer.width} × ${answer.height} pixels`;
  $("findings").replaceChildren(...found.map((one) => bar("li", one.label, one.confidence)));
  const all = Object.entries(answer.confidences);
  $("confidences").replaceChildren(...all.map(([label, confidence]) => bar("li", label, confidence)));
  $("boxes").replaceChildren(...answer.boxes.map(drawnBox).reverse());
  $("image").alt = `${file.name}: ${found.map((one) => one.label).join(", ") || "nothing found"}`;
}

function verdict(answer, found) {
  const by = `${answer.model} version ${answer.version}`;
  if (answer.task === "anomaly") {
    const confidence = percent(answer.confidences.anomaly);
    return found.length ? `${by} says anomaly: ${confidence}` : `${by} says normal, ${confidence} confident of an anomaly`;
  }
  if (!found.length) return `${by} finds nothing`;
  if (answer.task === "detection") return `${by} finds ${found.length} ${found.length === 1 ? "box" : "boxes"}`;
  return `${by} says ${found.map((one) => one.label).join(", ")}`;
}

function bar(tag, label, confidence) {
  const item = element(tag, "", `finding colour-${colours[label]}`);
  const fill = element("span", "", "fill");
  fill.style.width = `${confidence}%`;
  const track = element("span", "", "track");
  track.append(fill);
  item.append(element("span", label, "label"), element("span", percent(confidence), "number"), track);
  return item;
}

function drawnBox(box) {
  const drawn = element("div", "", `box colour-${colours[box.label]}`);
  for (const side of ["left", "top", "width", "height"]) drawn.style[side] = `${box.ratios[side] * 100}%`;
  const name = element("span", `${box.label} ${box.confidence.toFixed(0)} %`, box.ratios.top < 0.08 ? "inside" : "");
  if (box.ratios.left > 0.6) name.classList.add("right");
  drawn.append(name);
  return drawn;
}

// What people do

$("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
$("model").addEventListener("change", predict);
$("own").addEventListener("change", predict);
$("given").addEventListener("change", predict);
$("confidence").addEventListener("input", () => { $("percent").textContent = `${$("confidence").value} %`; $("given").checked = true; });
$("confidence").addEventListener("change", predict);
$("refresh").addEventListener("click", showModels);
$("ask").addEventListener("submit", (event) => event.preventDefault());
for (const type of ["dragover", "drop"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", type === "dragover");
    if (type === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("dragleave", () => document.body.classList.remove("dragging"));
showModels();
