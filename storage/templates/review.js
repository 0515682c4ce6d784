"use strict";
/* Plays source and result in step, and ties frames, segments and memories together. The source's clock leads while it plays. */
const state = JSON.parse(document.getElementById("state").textContent);
const element = (id) => document.getElementById(id);
const source = element("source"), result = element("result"), stage = element("stage"), wipe = element("wipe");
const scrub = element("scrub"), help = element("help"), list = element("segments");
const cards = [...document.querySelectorAll("#segments > .segment")];
const bars = [...document.querySelectorAll("#strip [data-segment]")];
const views = [...document.querySelectorAll("#views input")];
const rate = state.rate[0] / state.rate[1], times = state.times;
const base = Math.round(rate), near = Math.abs(base - rate) <= 0.02 * rate; // a rate that timecode counts
const origin = state.timecode ?? (base > 0 && near && !times.length ? "00:00:00:00" : null);
const fastest = 8;
let playable = [source, result]; // those that have not failed
let frame = 0, current = -1, speed = 0, motion = 0;

/* Timecode of a frame, counted from the video's own start; drop-frame (";") skips numbers, never frames. */
function timecode(index) {
  if (origin === null) return clock(times.length ? times[index] : index / rate);
  const [hours, minutes, seconds, frames] = origin.split(/[:;]/).map(Number);
  const drop = origin.includes(";") ? Math.round(base / 15) : 0;
  const startMinutes = hours * 60 + minutes;
  let number = (startMinutes * 60 + seconds) * base + frames + index;
  if (drop) {
    const perMinute = base * 60 - drop, perTen = base * 600 - drop * 9;
    const real = number - drop * (startMinutes - Math.floor(startMinutes / 10));
    const tens = Math.floor(real / perTen), rest = real % perTen;
    number = real + drop * 9 * tens + (rest >= drop ? drop * Math.floor((rest - drop) / perMinute) : 0);
  }
  const parts = [Math.floor(number / base / 3600) % 24, Math.floor(number / base / 60) % 60, Math.floor(number / base) % 60];
  return parts.map(pad).join(":") + (drop ? ";" : ":") + pad(number % base);
}
const pad = (number) => String(number).padStart(2, "0");

/* The time where no timecode counts the frames. */
function clock(seconds) {
  const all = Math.round(seconds * 1000), parts = [all / 3600000, (all / 60000) % 60, (all / 1000) % 60];
  return parts.map((part) => pad(Math.floor(part))).join(":") + "." + String(all % 1000).padStart(3, "0");
}

/* The latest segment that has the frame. */
function segmentAt(index) {
  let found = state.spans.length - 1;
  while (found > 0 && state.spans[found][0] > index) found -= 1;
  return found;
}

function show(index) {
  frame = Math.min(Math.max(index, 0), state.frames - 1);
  const label = timecode(frame);
  element("frame").textContent = frame;
  element("timecode").textContent = label;
  scrub.value = frame;
  mark(segmentAt(frame));
  scrub.setAttribute("aria-valuetext", `frame ${frame}, ${label}, segment ${current}`);
  document.body.dataset.frame = frame;
}

function mark(segment) {
  if (segment === current) return;
  for (const each of [cards, bars]) {
    each[current]?.classList.remove("current");
    each[segment]?.classList.add("current");
  }
  cards[current]?.removeAttribute("aria-current");
  cards[segment]?.setAttribute("aria-current", "true");
  current = segment;
}

/* Where the rate varies, each frame has a time of its own. Frames are sought at their middle: no rounding shows a neighbour. */
function middle(index) {
  if (!times.length) return (index + 0.5) / rate;
  return index + 1 < times.length ? (times[index] + times[index + 1]) / 2 : times[index] + 0.5 / rate;
}

function frameAt(seconds) {
  if (!times.length) return Math.floor(seconds * rate + 0.01);
  let low = 0, high = times.length;
  while (high - low > 1) {
    const half = (low + high) >> 1;
    if (times[half] <= seconds + 1e-4) low = half;
    else high = half;
  }
  return low;
}

function seek(index) {
  show(index);
  source.currentTime = result.currentTime = middle(frame);
}

/* Runs at `wanted` times the rate, backwards below 0; 0 stops. Browsers cannot play backwards: that is seeking. */
function run(wanted) {
  const mine = ++motion;
  speed = wanted;
  element("play").setAttribute("aria-pressed", speed !== 0);
  element("play").textContent = speed === 0 ? "Play" : Math.abs(speed) === 1 ? "Pause" : `Pause ${Math.abs(speed)}x`;
  if (speed > 0) return forwards(mine);
  source.pause();
  result.pause();
  seek(frame);
  if (speed < 0) backwards(mine, performance.now(), frame);
}

function forwards(mine) {
  if (frame === state.frames - 1) seek(0);
  source.playbackRate = result.playbackRate = speed;
  const follow = () => {
    if (mine !== motion) return;
    const [lead, other] = playable;
    if (!lead) return run(0);
    show(frameAt(lead.currentTime));
    if (other) keepUp(other, other.currentTime - lead.currentTime);
    requestAnimationFrame(follow);
  };
  Promise.all(playable.map((video) => video.play())).then(follow, () => mine === motion && run(0));
}

/* What is a little ahead, or behind, is made up for by the rate: a seek may take longer than a frame, and never end. */
function keepUp(video, ahead) {
  const gap = ahead / speed;
  if (Math.abs(gap) <= 0.5) video.playbackRate = speed * (Math.abs(gap) * rate > 1 ? 1 - Math.max(-0.1, Math.min(0.1, gap)) : 1);
  else if (!video.seeking) video.currentTime -= ahead;
}

function backwards(mine, began, first) {
  requestAnimationFrame((now) => {
    if (mine !== motion) return;
    if (!source.seeking && !result.seeking) seek(first + Math.trunc(((now - began) / 1000) * rate * speed));
    if (frame === 0) run(0);
    else backwards(mine, began, first);
  });
}

/* Faster with every call in the same direction. */
const shuttle = (direction) => run(speed * direction > 0 ? Math.max(Math.min(speed * 2, fastest), -fastest) : direction);

function step(index) {
  if (speed) run(0);
  seek(index);
}

function toggleSound() {
  if (element("sound").disabled) return say(element("sound").title);
  result.muted = !result.muted;
  element("sound").setAttribute("aria-pressed", !result.muted);
}

function view(name) {
  stage.className = name;
  wipe.hidden = name !== "wipe";
  views.find((each) => each.value === name).checked = true;
}

/* Whoever watches the videos stays with them; whoever reads the list is taken along. */
function goTo(segment) {
  const target = Math.min(Math.max(segment, 0), cards.length - 1);
  step(state.spans[target][0]);
  const box = cards[target].getBoundingClientRect();
  if (beside() || stage.getBoundingClientRect().bottom < 0) {
    if (box.top < 0 || box.bottom > innerHeight) cards[target].scrollIntoView({ block: "nearest" });
  }
}
const beside = () => list.getBoundingClientRect().left > stage.getBoundingClientRect().right;

function nextFlag() {
  const { flagged } = state;
  if (!flagged.length) return say("No segment is flagged");
  const next = flagged.find((index) => index > current) ?? flagged[0];
  goTo(next);
  say(`Segment ${next}: ${cards[next].querySelector(".flags").textContent}`);
}

function say(text) {
  element("said").textContent = text;
}

/* Puts the flagged first, or all in the order of the video. */
function sort() {
  const first = element("sort").getAttribute("aria-pressed") !== "true", flagged = new Set(state.flagged);
  const last = first ? cards.filter((_, index) => !flagged.has(index)) : cards;
  list.append(...(first ? state.flagged.map((index) => cards[index]) : []), ...last);
  element("sort").setAttribute("aria-pressed", first);
}

/* Highlights the card of a memory; a second look at another one takes the light away from the first. */
function reveal(card) {
  document.querySelector(".shown")?.classList.remove("shown");
  card.classList.add("shown");
  card.scrollIntoView({ block: "center" });
  card.focus({ preventScroll: true });
  if (card.dataset.start) step(Number(card.dataset.start));
}

async function copy() {
  const command = element("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    element("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(command);
    element("copy").textContent = "Selected";
  }
  say(element("copy").textContent);
}

const letters = {
  j: () => shuttle(-1),
  k: () => run(0),
  l: () => shuttle(1),
  f: nextFlag,
  w: () => view(stage.className === "wipe" ? "side" : "wipe"),
  m: toggleSound,
  "?": () => (help.open ? help.close() : help.showModal()),
};
views.forEach((each, index) => (letters[index + 1] = () => view(each.value)));
const keys = {
  " ": () => run(speed ? 0 : 1),
  ArrowLeft: (event) => (event.shiftKey ? goTo(current - 1) : step(frame - 1)),
  ArrowRight: (event) => (event.shiftKey ? goTo(current + 1) : step(frame + 1)),
};

document.addEventListener("keydown", (event) => {
  const action = keys[event.key] ?? (element("letters").checked ? letters[event.key] : null);
  if (!action || event.ctrlKey || event.metaKey || event.altKey || (help.open && event.key !== "?")) return;
  const own = event.target.closest("button, summary, input");
  const takes = event.key === " " ? own && !own.matches("input[type=range], input[type=radio]") : own?.matches("input");
  if (takes && own !== scrub && event.key in keys) return;
  event.preventDefault();
  action(event);
});
for (const [id, action] of Object.entries({
  play: keys[" "],
  back: () => step(frame - 1),
  forward: () => step(frame + 1),
  sound: toggleSound,
  ask: letters["?"],
  sort,
  copy,
  "next-flag": nextFlag,
})) element(id)?.addEventListener("click", action);
element("views").addEventListener("change", (event) => view(event.target.value));
scrub.addEventListener("input", () => step(Number(scrub.value)));
wipe.addEventListener("input", () => {
  stage.style.setProperty("--wipe", wipe.value + "%");
  wipe.setAttribute("aria-valuetext", wipe.value + " %");
});
for (const video of [source, result]) video.addEventListener("ended", () => video === playable[0] && run(0));
document.addEventListener("click", (event) => {
  const recall = event.target.closest(".recall"), pair = event.target.closest(".pair");
  if (recall) reveal(element(recall.dataset.card));
  if (!pair) return;
  step(Number(pair.closest(".segment").dataset.start));
  if (stage.getBoundingClientRect().bottom < 0) stage.scrollIntoView({ block: "center" });
});

/* A memory's picture is that of its own card: filled in when a segment comes near the window, never stored twice. */
const pictures = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    for (const recall of entry.target.querySelectorAll(".recall")) {
      recall.querySelector("img").src = element(recall.dataset.card).querySelector(".memory").src;
    }
    pictures.unobserve(entry.target);
  }
}, { rootMargin: "400px" });
cards.forEach((card) => pictures.observe(card));

for (const time of document.querySelectorAll("time[data-frame]")) time.textContent = timecode(Number(time.dataset.frame));

/* The page is ready when both videos are, or have failed; a failed one says so in its place. */
function whenLoaded(video) {
  return new Promise((resolve) => {
    const failed = () => {
      playable = playable.filter((one) => one !== video);
      video.hidden = true;
      view("side");
      video.parentElement.querySelector(".missing").hidden = false;
      resolve("missing");
    };
    if (video.error) failed();
    else if (video.readyState >= HTMLMediaElement.HAVE_METADATA) resolve("loaded");
    video.addEventListener("loadedmetadata", () => resolve("loaded"));
    video.addEventListener("error", failed);
  });
}
function asked() {
  const wanted = Number(new URLSearchParams(location.hash.slice(1)).get("frame"));
  return Number.isInteger(wanted) ? wanted : 0;
}
addEventListener("hashchange", () => step(asked()));
show(asked());
Promise.all([whenLoaded(source), whenLoaded(result)]).then(([first, second]) => {
  const lead = source.videoWidth ? source : result;
  if (lead.videoWidth) stage.style.setProperty("--ratio", lead.videoWidth / lead.videoHeight);
  Object.assign(document.body.dataset, { source: first, result: second, ready: "true" });
  seek(frame);
});
