"use strict";
/* Plays source and result in step, and ties frames, segments and memories together. The source's clock leads. */
const state = JSON.parse(document.getElementById("state").textContent);
const element = (id) => document.getElementById(id);
const source = element("source"), result = element("result"), stage = element("stage"), wipe = element("wipe");
const cards = [...document.querySelectorAll("#segments > .segment")];
const bars = [...document.querySelectorAll("#timeline [data-segment]")];
const rate = state.rate[0] / state.rate[1], times = state.times;
let frame = 0, current = -1;

/* Timecode of a frame, counted from the video's own start; drop-frame (";") skips numbers, never frames. */
function timecode(index) {
  const base = Math.round(rate), [hours, minutes, seconds, frames] = state.timecode.split(/[:;]/).map(Number);
  const drop = state.timecode.includes(";") ? Math.round(base / 15) : 0;
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

/* The latest segment that has the frame. */
function segmentAt(index) {
  let found = state.spans.length - 1;
  while (found > 0 && state.spans[found][0] > index) found -= 1;
  return found;
}

function show(index) {
  frame = Math.min(Math.max(index, 0), state.frames - 1);
  element("frame").textContent = frame;
  element("timecode").textContent = timecode(frame);
  element("scrub").value = frame;
  element("playhead").setAttribute("x1", frame + 0.5);
  element("playhead").setAttribute("x2", frame + 0.5);
  mark(segmentAt(frame));
  document.body.dataset.frame = frame;
}

function mark(segment) {
  if (segment === current) return;
  for (const list of [cards, bars]) {
    list[current]?.classList.remove("current");
    list[segment]?.classList.add("current");
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

function follow() {
  if (!source.paused) {
    show(frameAt(source.currentTime));
    if (Math.abs(result.currentTime - source.currentTime) > 1 / rate) result.currentTime = source.currentTime;
    requestAnimationFrame(follow);
  }
}

function play() {
  if (!source.paused) return pause();
  if (source.ended || frame === state.frames - 1) seek(0);
  Promise.all([source.play(), result.play()]).then(follow, pause);
  return pressed("play", true, "Pause");
}

function pause() {
  source.pause();
  result.pause();
  seek(frame);
  pressed("play", false, "Play");
}

function pressed(id, on, text) {
  element(id).setAttribute("aria-pressed", on);
  if (text) element(id).textContent = text;
}

function toggleWipe() {
  wipe.hidden = !stage.classList.toggle("wipe");
  pressed("mode", !wipe.hidden);
}

function toggleSound() {
  result.muted = !result.muted;
  pressed("sound", !result.muted);
}

/* Whoever watches the videos stays with them; whoever reads the list is taken along. */
function goTo(segment) {
  const target = Math.min(Math.max(segment, 0), cards.length - 1);
  seek(state.spans[target][0]);
  if (stage.getBoundingClientRect().bottom < 0) cards[target].scrollIntoView({ block: "nearest" });
}

/* Highlights the card of a memory; a second look at another one takes the light away from the first. */
function reveal(card) {
  document.querySelector(".shown")?.classList.remove("shown");
  card.classList.add("shown");
  card.scrollIntoView({ block: "center" });
  if (card.dataset.start) seek(Number(card.dataset.start));
}

const keys = {
  " ": play,
  ArrowLeft: (event) => seek(frame - (event.shiftKey ? Math.round(rate) : 1)),
  ArrowRight: (event) => seek(frame + (event.shiftKey ? Math.round(rate) : 1)),
  j: () => goTo(current + 1),
  k: () => goTo(current - 1),
  w: toggleWipe,
  m: toggleSound,
};

document.addEventListener("keydown", (event) => {
  const action = keys[event.key], own = event.target.closest("button, summary, #wipe");
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  if (own && (event.key === " " || own === wipe)) return;
  event.preventDefault();
  action(event);
});
element("play").addEventListener("click", play);
element("back").addEventListener("click", () => seek(frame - 1));
element("forward").addEventListener("click", () => seek(frame + 1));
element("mode").addEventListener("click", toggleWipe);
element("sound").addEventListener("click", toggleSound);
element("scrub").addEventListener("input", (event) => seek(Number(event.target.value)));
wipe.addEventListener("input", () => stage.style.setProperty("--wipe", wipe.value + "%"));
source.addEventListener("ended", pause);
element("timeline").addEventListener("click", (event) => {
  const box = event.currentTarget.getBoundingClientRect();
  seek(Math.floor(((event.clientX - box.left) / box.width) * state.frames));
});
document.addEventListener("click", (event) => {
  const recall = event.target.closest(".recall"), pair = event.target.closest(".pair");
  if (recall) reveal(element(recall.dataset.card));
  if (pair) seek(Number(pair.closest(".segment").dataset.start));
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
      video.hidden = true;
      video.parentElement.querySelector(".missing").hidden = false;
      resolve("missing");
    };
    if (video.error) failed();
    else if (video.readyState >= HTMLMediaElement.HAVE_METADATA) resolve("loaded");
    video.addEventListener("loadedmetadata", () => resolve("loaded"));
    video.addEventListener("error", failed);
  });
}
const asked = Number(new URLSearchParams(location.hash.slice(1)).get("frame"));
show(Number.isInteger(asked) ? asked : 0);
Promise.all([whenLoaded(source), whenLoaded(result)]).then(([first, second]) => {
  Object.assign(document.body.dataset, { source: first, result: second, ready: "true" });
  seek(frame);
});
