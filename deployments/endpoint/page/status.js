import { $, ask, element, table } from "/page/common.js";

const FIGURES = { macro_f1: "macro-F1", map_50: "mAP50", image_auroc: "image AUROC" };
const OUTCOMES = { begun: "under way", reverted: "taken back" };

async function showStatus() {
  $("list").setAttribute("aria-busy", "true");
  try {
    const { models } = await ask("/v1/status");
    $("list").replaceChildren(...(models.length ? models.map(modelCard) : [noModels()]));
  } catch (error) {
    $("list").replaceChildren(element("p", error.message, "trouble"));
  }
  $("list").setAttribute("aria-busy", "false");
}

function noModels() {
  const told = element("p", "No models yet. ", "quiet");
  told.append(element("code", "keeneye train --data.source photos"), " makes one.");
  return told;
}

function modelCard(model) {
  const card = element("article");
  const head = element("div", "", "row");
  head.append(element("h3", model.model), element("span", counted(model.versions, "version"), "tag"));
  const places = element("div", "", "places");
  places.append(...model.places.map(placeCard));
  card.append(head, model.places.length ? places : element("p", "No version stands in an environment.", "quiet"));
  if (model.history.length) card.append(history(model));
  return card;
}

const counted = (count, unit) => `${count} ${unit}${count === 1 ? "" : "s"}`;

function placeCard(place) {
  const card = element("div", "", "place");
  card.append(element("h4", `${place.environment}: version ${place.version}`));
  const figures = Object.entries(place.metrics).map(([name, value]) => `${FIGURES[name] || name} ${value.toFixed(3)}`);
  if (figures.length) card.append(element("p", figures.join(", "), "figures"));
  const since = element("p", "", "quiet");
  if (place.since) since.append("since ", moment(place.since), ` by ${place.by}`);
  else since.append("since before there was a ledger");
  card.append(since);
  if (place.why) card.append(element("blockquote", place.why));
  return card;
}

function moment(at) {
  const shown = element("time", at.slice(0, 16).replace("T", " ") + " UTC");
  shown.dateTime = shown.title = at;
  return shown;
}

function history(model) {
  const columns = [["When", ""], ["Environment", ""], ["Versions", ""], ["What", ""], ["Outcome", ""], ["By", ""], ["Why", "why"]];
  const rows = model.history.map((move) => [
    moment(move.at), move.environment, `${move.from_version || "none"} \u2192 ${move.to_version}`, move.action,
    element("span", OUTCOMES[move.outcome] || move.outcome, `tag ${move.outcome}`), move.by, move.why,
  ]);
  return table(columns, rows, `History of ${model.model}`);
}

$("refresh").addEventListener("click", showStatus);
showStatus();
