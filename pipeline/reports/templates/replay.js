"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const data = JSON.parse($("data").textContent);
  const { duration, bucket, lines, findings, stretches } = data;
  const peaks = Uint8Array.from(atob(data.peaks), (char) => char.charCodeAt(0));
  const audio = $("audio");
  const main = $("main");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const narrow = matchMedia("(max-width: 899px)");
  const cards = all(".card");
  const lineItems = all(".line");
  const LEAD_MS = 250; // word times are good to about this much: do not cut off what was said
  const LINGER_MS = 600; // a line stays marked this long after its last word
  const SHORT_MS = 5 * 60 * 1000;

  let silentAt = 0; // position while there is no sound to ask
  let wanted = null; // where a jump goes before the sound can be moved
  let line = -1;
  let word = null;
  let finding = -1;
  let follow = true;
  let span = 60 * 1000; // ms shown by the detail strip
  const filters = { category: new Set(), verdict: new Set() };
  const shown = (f) =>
    (!filters.category.size || filters.category.has(f[2])) && (!filters.verdict.size || filters.verdict.has(f[3]));

  // --- time

  const two = (number) => String(number).padStart(2, "0");
  function clock(ms) {
    const s = Math.floor(ms / 1000), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
    return (h ? h + ":" : "") + two(m) + ":" + two(s % 60);
  }
  const hasSound = () => Boolean(audio.src);
  const now = () => wanted ?? (hasSound() ? audio.currentTime * 1000 : silentAt);

  function seek(ms, play) {
    ms = Math.min(Math.max(0, ms), duration - 1);
    silentAt = ms;
    if (hasSound() && audio.readyState >= 1) {
      audio.currentTime = ms / 1000;
      wanted = null;
    } else {
      wanted = ms;
    }
    if (play) start();
    update();
  }
  function start() {
    if (!hasSound()) return;
    audio.play().catch((error) => {
      if (error.name !== "AbortError") fault("浏览器不能播放这段声音：" + error.message);
    });
  }
  const toggle = () => (audio.paused ? start() : audio.pause());
  function fault(text) {
    $("fault").textContent = text;
    $("fault").hidden = false;
  }

  // --- what is being said

  function at(ms) { // last line that has begun
    let low = 0, high = lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lines[middle][0] <= ms) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Words become elements only in lines that are looked at: a long broadcast has a hundred thousand.
  function spell(number) {
    const text = lineItems[number].querySelector(".text");
    const words = lines[number][2];
    if (!text || !words.length || text.dataset.spelt) return;
    text.dataset.spelt = "1";
    const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walker.nextNode()) nodes.push(walker.currentNode);
    let offset = 0;
    for (const node of nodes) {
      const end = offset + node.data.length;
      const parts = [];
      let from = offset;
      for (let i = 0; i < words.length; i += 4) {
        const a = Math.max(words[i + 2], from), b = Math.min(words[i + 3], end);
        if (a >= b) continue;
        if (a > from) parts.push(node.data.slice(from - offset, a - offset));
        const part = document.createElement("span");
        part.textContent = node.data.slice(a - offset, b - offset);
        part.dataset.w = i / 4;
        parts.push(part);
        from = b;
      }
      parts.push(node.data.slice(from - offset));
      node.replaceWith(...parts);
      offset = end;
    }
  }

  function wordAt(number, ms) {
    const words = number < 0 ? [] : lines[number][2];
    for (let i = 0; i < words.length; i += 4) if (words[i] <= ms && ms < words[i + 1]) return i / 4;
    return null;
  }

  function mark(ms) {
    let current = at(ms);
    if (current >= 0 && ms > lines[current][1] + LINGER_MS) current = -1;
    if (current !== line) {
      if (line >= 0) {
        lineItems[line].classList.remove("on");
        lineItems[line].removeAttribute("aria-current");
      }
      say(line, null);
      line = current;
      word = null;
      if (line >= 0) {
        lineItems[line].classList.add("on");
        lineItems[line].setAttribute("aria-current", "true");
        spell(line);
        if (follow) reveal(lineItems[line], $("transcript"), 0.35);
      }
      $("caption").textContent = line < 0 ? "" : lineItems[line].querySelector("p").textContent.trim();
    }
    const next = wordAt(line, ms);
    if (next !== word) say(line, (word = next));
  }
  function say(number, next) {
    if (number < 0) return;
    for (const part of all("span.on", lineItems[number])) part.classList.remove("on");
    if (next !== null) for (const part of all(`[data-w="${next}"]`, lineItems[number])) part.classList.add("on");
  }

  function reveal(item, panel, share) {
    const page = narrow.matches;
    if (page && (panel.offsetParent === null || main.dataset.view !== panel.id)) return;
    const box = item.getBoundingClientRect();
    const top = page ? $("deck").offsetHeight : panel.getBoundingClientRect().top;
    const height = page ? innerHeight - top : panel.clientHeight;
    const distance = box.top - top - height * share;
    const head = page ? 0 : panel.querySelector(".panel-head").offsetHeight;
    if (share === 0 && box.top >= top + head && box.bottom <= top + height) return;
    const jump = Math.abs(distance) > 800 || calm.matches;
    (page ? window : panel).scrollBy({ top: distance - (share === 0 ? head + 8 : 0), behavior: jump ? "auto" : "smooth" });
    // Rows that were never drawn have guessed heights; once drawn, the aim may be off.
    if (jump && share) requestAnimationFrame(() => {
      const off = item.getBoundingClientRect().top - top - height * share;
      if (Math.abs(off) > 40) (page ? window : panel).scrollBy(0, off);
    });
  }

  // --- findings

  function choose(number, play) {
    if (finding >= 0) {
      cards[finding].classList.remove("on");
      cards[finding].removeAttribute("aria-current");
      markers[finding].classList.remove("on");
    }
    finding = number;
    cards[number].classList.add("on");
    cards[number].setAttribute("aria-current", "true");
    markers[number].classList.add("on");
    reveal(cards[number], $("findings"), 0);
    if (play) {
      setFollow(true);
      seek(findings[number][0] - LEAD_MS, true);
    }
  }
  function hop(step) {
    const ms = now() + LEAD_MS;
    const here = finding >= 0 && shown(findings[finding]) && Math.abs(findings[finding][0] - ms) < 4000;
    const open = findings.map((f, i) => i).filter((i) => shown(findings[i]));
    const target = step > 0
      ? open.find((i) => (here ? i > finding : findings[i][0] > ms))
      : open.findLast((i) => (here ? i < finding : findings[i][0] < ms));
    if (target !== undefined) choose(target, true);
  }

  const markers = findings.map((f, i) => {
    const item = document.createElement("i");
    item.style.left = (100 * f[0]) / duration + "%";
    item.style.width = (100 * (f[1] - f[0])) / duration + "%";
    item.title = clock(f[0]) + " " + cards[i].querySelector("blockquote").textContent.trim();
    document.querySelector(`.lane[data-c="${f[2]}"] .track`).append(item);
    return item;
  });
  for (const lane of all(".lane")) {
    const track = lane.querySelector(".track");
    track.addEventListener("click", (event) => {
      const box = track.getBoundingClientRect();
      const ms = ((event.clientX - box.left) / box.width) * duration;
      const reach = (14 / box.width) * duration; // a finger is wider than a marker
      let best = -1, least = Infinity;
      findings.forEach((f, i) => {
        const away = Math.max(f[0] - ms, ms - f[1], 0);
        if (f[2] === lane.dataset.c && shown(f) && away < least) [best, least] = [i, away];
      });
      if (best >= 0 && least <= reach) choose(best, true);
      else seek(ms, false);
    });
  }

  function filter() {
    let count = 0;
    findings.forEach((f, i) => {
      const open = shown(f);
      count += open;
      cards[i].hidden = markers[i].hidden = !open;
    });
    for (const item of all("mark")) {
      item.classList.toggle("off", !item.dataset.f.split(" ").some((i) => shown(findings[i])));
    }
    $("shown").textContent = count === findings.length ? "" : `显示 ${count} / ${findings.length}`;
    $("none").hidden = count > 0 || !findings.length;
    layers = [];
    paint();
  }
  for (const button of all(".filter")) {
    button.addEventListener("click", () => {
      const chosen = filters[button.dataset.by];
      const on = !chosen.delete(button.dataset.value);
      if (on) chosen.add(button.dataset.value);
      button.setAttribute("aria-pressed", on);
      filter();
    });
  }

  // --- waveform

  const loudest = Math.max(24, peaks.reduce((a, b) => Math.max(a, b), 0));
  let ink = {};
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["accent", "wave", "heard", "line", "bad", "ink", "panel", "price", "peer", "offsite", "efficacy",
      "absolute", "engagement", "goods", "privacy", "prizes"];
    ink = Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
    ink.kinds = { heard: ink.heard, silent: ink.line, music: "#a58fc9", lost: ink.bad, shed: ink.bad, failed: ink.bad };
    ink.categories = {
      false_price_comparison: ink.price, competitor_disparagement: ink.peer,
      off_platform_solicitation: ink.offsite, efficacy_claim: ink.efficacy,
      absolute_claim: ink.absolute, fake_engagement: ink.engagement, regulated_goods: ink.goods,
      privacy: ink.privacy, prizes_and_gifts: ink.prizes,
    };
  }
  function fit(canvas) {
    const scale = devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    return [pen, width, height];
  }
  const STRIP = 6;
  function sketch(pen, width, height, from, to, split) { // bars left of `split` ms have been played
    const x = (t) => ((t - from) / (to - from)) * width;
    const tall = height - STRIP - 3;
    pen.clearRect(0, 0, width, height);
    for (const f of findings) {
      if (f[1] < from || f[0] > to || !shown(f)) continue;
      const left = x(f[0]), wide = Math.max(2, x(f[1]) - left);
      pen.fillStyle = ink.categories[f[2]];
      pen.globalAlpha = 0.2;
      pen.fillRect(left, 0, wide, tall);
      pen.globalAlpha = 1;
      pen.fillRect(left, 0, wide, 2);
    }
    for (let left = 0; left < width; left += 3) {
      const first = Math.floor((from + (left / width) * (to - from)) / bucket);
      const last = Math.max(first + 1, Math.floor((from + ((left + 3) / width) * (to - from)) / bucket));
      let peak = 0;
      for (let i = first; i < last && i < peaks.length; i++) if (peaks[i] > peak) peak = peaks[i];
      const half = Math.max(0.5, ((peak / loudest) * tall) / 2 - 1);
      pen.fillStyle = left < x(split) ? ink.accent : ink.wave;
      pen.fillRect(left, tall / 2 - half, 2, 2 * half);
    }
    // Unheard time is drawn last and never thinner than can be seen.
    for (const unheard of [false, true]) {
      for (let i = after(from); i < ledger.length && ledger[i][0] <= to; i++) {
        const [a, b, kind] = ledger[i];
        const colour = ink.kinds[kind] ?? ink.bad;
        if ((colour === ink.bad) !== unheard) continue;
        pen.fillStyle = colour;
        pen.fillRect(x(a), height - STRIP, Math.max(unheard ? 2 : 0, x(b) - x(a)), STRIP);
      }
    }
  }
  // What became of each moment; where the stretches say nothing, nothing is known. The last number
  // is how far all up to here reach, for they may overlap.
  const ledger = [];
  let told = 0;
  for (const [a, b, kind] of [...stretches, [duration, duration, "silent"]]) {
    if (a > told) ledger.push([told, a, "unknown", a]);
    told = Math.max(told, b);
    ledger.push([a, b, kind, told]);
  }
  function after(ms) { // index of the first stretch that can reach beyond ms
    let low = 0, high = ledger.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ledger[middle][3] <= ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  function needle(pen, left, width, height) {
    pen.fillStyle = ink.ink;
    pen.fillRect(Math.min(width - 2, left - 0.5), 0, 2, height);
  }
  // Hours of peaks are too many to draw anew for every frame: the whole is kept twice, played and
  // unplayed, until its size, its colours or the filter change.
  let layers = [];
  function drawWhole(ms) {
    const canvas = $("whole");
    const [pen, width, height] = fit(canvas);
    if (!width) return;
    if (!layers.length || layers[0].width !== canvas.width || layers[0].height !== canvas.height) {
      layers = [0, duration].map((split) => {
        const layer = document.createElement("canvas");
        layer.width = canvas.width;
        layer.height = canvas.height;
        const on = layer.getContext("2d");
        on.setTransform(pen.getTransform());
        sketch(on, width, height, 0, duration, split);
        return layer;
      });
    }
    const left = (ms / duration) * width, scale = canvas.width / width;
    pen.clearRect(0, 0, width, height);
    pen.drawImage(layers[0], 0, 0, width, height);
    if (left * scale >= 1) {
      pen.drawImage(layers[1], 0, 0, left * scale, canvas.height, 0, 0, left, height);
    }
    needle(pen, left, width, height);
    if (short) return;
    const [from, to] = frame(ms);
    pen.strokeStyle = ink.ink;
    pen.globalAlpha = 0.55;
    pen.strokeRect((from / duration) * width + 0.5, 0.5, Math.max(3, ((to - from) / duration) * width - 1), height - 1);
    pen.globalAlpha = 1;
  }
  function drawDetail(ms) {
    const [pen, width, height] = fit($("detail"));
    if (!width) return;
    const [from, to] = frame(ms);
    sketch(pen, width, height, from, to, ms);
    needle(pen, ((ms - from) / (to - from)) * width, width, height);
  }
  function frame(ms) { // the part that the detail strip shows
    const length = Math.min(span, duration);
    const from = Math.min(Math.max(0, ms - length * 0.35), duration - length);
    return [from, from + length];
  }
  const short = duration <= SHORT_MS;
  document.body.classList.toggle("short", short);
  function paint(ms = now()) {
    drawWhole(ms);
    if (!short) drawDetail(ms);
  }
  function drag(canvas, range) {
    let held = null;
    const go = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      seek(held[0] + share * (held[1] - held[0]), false);
    };
    canvas.addEventListener("pointerdown", (event) => {
      held = range();
      canvas.setPointerCapture(event.pointerId);
      setFollow(true);
      go(event);
    });
    canvas.addEventListener("pointermove", (event) => held && go(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));
  }
  drag($("whole"), () => [0, duration]);
  drag($("detail"), () => frame(now()));
  function zoom(factor) {
    span = Math.min(Math.max(5000, span * factor), duration);
    paint();
  }
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));

  // --- the page follows the sound

  let spoken = "";
  function update() {
    const ms = now();
    mark(ms);
    paint(ms);
    const text = clock(ms);
    if (text !== spoken) {
      spoken = text;
      $("clock").firstElementChild.textContent = text;
      $("whole").setAttribute("aria-valuenow", Math.floor(ms / 1000));
      $("whole").setAttribute("aria-valuetext", text);
    }
  }
  function run() {
    update();
    if (!audio.paused) requestAnimationFrame(run);
  }
  audio.addEventListener("play", () => {
    document.body.classList.add("playing");
    $("play").setAttribute("aria-label", "暂停");
    run();
  });
  audio.addEventListener("pause", () => {
    document.body.classList.remove("playing");
    $("play").setAttribute("aria-label", "播放");
    update();
  });
  for (const event of ["seeked", "timeupdate"]) audio.addEventListener(event, update);
  audio.addEventListener("loadedmetadata", () => {
    if (wanted !== null) seek(wanted, false);
  });
  audio.addEventListener("error", () => fault("浏览器不能播放这种格式的声音，请换一个浏览器或另存为 MP3、M4A。"));

  function setFollow(on) {
    follow = on;
    $("follow").setAttribute("aria-pressed", on);
  }
  $("follow").addEventListener("click", () => {
    setFollow(!follow);
    if (follow && line >= 0) reveal(lineItems[line], $("transcript"), 0.35);
  });
  for (const event of ["wheel", "touchmove"]) {
    $("transcript").addEventListener(event, () => setFollow(false), { passive: true });
  }

  $("play").addEventListener("click", toggle);
  $("back").addEventListener("click", () => seek(now() - 5000, false));
  $("ahead").addEventListener("click", () => seek(now() + 5000, false));
  $("prev")?.addEventListener("click", () => hop(-1));
  $("next")?.addEventListener("click", () => hop(1));
  $("rate").addEventListener("change", (event) => (audio.playbackRate = Number(event.target.value)));
  for (const tab of all(".tabs button")) {
    tab.addEventListener("click", () => {
      main.dataset.view = tab.dataset.view;
      for (const one of all(".tabs button")) one.setAttribute("aria-pressed", one === tab);
      if (main.dataset.view === "transcript" && line >= 0 && follow) reveal(lineItems[line], $("transcript"), 0.35);
    });
  }

  document.addEventListener("click", (event) => {
    const target = event.target;
    // After a mouse click the space bar is to pause, not to press the same button again.
    if (event.detail > 0 && target.closest("button")) document.activeElement.blur();
    if (target.closest("summary, .deck, .filters") || !getSelection().isCollapsed) return;
    const hit = target.closest("mark[data-f]");
    const card = target.closest(".card");
    if (card) {
      const other = target.closest("[data-at]"); // the earlier half of a claim, or its correction
      if (other) {
        choose(Number(card.dataset.f), false);
        seek(Number(other.dataset.at), true);
      } else if (!target.closest("details")) choose(Number(card.dataset.f), true);
      return;
    }
    const timed = target.closest("[data-at]");
    const item = target.closest(".line");
    if (hit) {
      const open = hit.dataset.f.split(" ").map(Number).find((i) => shown(findings[i]));
      if (open !== undefined) choose(open, false);
    }
    if (timed) seek(Number(timed.dataset.at), true);
    else if (item) {
      const number = Number(item.dataset.line);
      const part = target.closest("[data-w]");
      seek(part ? lines[number][2][4 * Number(part.dataset.w)] : lines[number][0], true);
    } else return;
    setFollow(true);
  });

  const keys = {
    " ": toggle, ArrowLeft: () => seek(now() - 5000, false), ArrowRight: () => seek(now() + 5000, false),
    j: () => hop(1), k: () => hop(-1), J: () => hop(1), K: () => hop(-1),
  };
  document.addEventListener("keydown", (event) => {
    const action = keys[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === " " && event.target.closest("button, summary, a")) return;
    event.preventDefault();
    action();
  });

  // --- sound

  // Not a data: URL as the source: a blob can be jumped in without decoding it all again.
  function embedded() {
    const holder = $("sound");
    $("play").disabled = !holder;
    if (!holder) return;
    const text = holder.textContent;
    const parts = [];
    const step = 1 << 20; // a multiple of 4, so that each piece decodes by itself
    for (let i = 0; i < text.length; i += step) {
      parts.push(Uint8Array.from(atob(text.slice(i, i + step)), (char) => char.charCodeAt(0)));
    }
    audio.src = URL.createObjectURL(new Blob(parts, { type: holder.dataset.type }));
    holder.remove();
  }
  document.addEventListener("DOMContentLoaded", embedded);
  $("file")?.addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (!file) return;
    wanted = now();
    if (audio.src) URL.revokeObjectURL(audio.src);
    $("fault").hidden = true;
    audio.src = URL.createObjectURL(file);
    $("chosen").textContent = file.name;
    $("play").disabled = false;
  });

  // --- size, light and paper

  const looked = new IntersectionObserver(
    (entries) => entries.forEach((entry) => entry.isIntersecting && spell(Number(entry.target.dataset.line))),
    { rootMargin: "200px" },
  );
  lineItems.forEach((item) => looked.observe(item));
  new ResizeObserver(() => {
    document.documentElement.style.setProperty("--deck", $("deck").offsetHeight + "px");
    paint();
  }).observe($("deck"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colours();
    layers = [];
    paint();
  });
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((item) => (item.open = true));
  });
  addEventListener("afterprint", () => closed.forEach((item) => (item.open = false)));
  colours();
  update();
})();
