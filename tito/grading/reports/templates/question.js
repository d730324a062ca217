"use strict";
// A grader's keyboard. What is ticked and written on the page is the score; it is kept at every change, by the server
// where the page is served, else by this browser, from which it is downloaded as a table for OUT/scores.
(() => {
  const main = document.getElementById("marking"), {module, question, most} = main.dataset;
  const served = "served" in main.dataset;
  const grader = document.getElementById("grader"), state = document.getElementById("state");
  const answers = [...document.querySelectorAll(".answer")];
  const boxes = answer => [...answer.querySelectorAll("input")];
  const comment = answer => answer.querySelector("textarea");
  const ticked = answer => boxes(answer).filter(box => box.checked);
  let current = 0, keeps = true, saving = false, waiting = false;

  const scores = () => answers.map(answer => ({
    answer: answer.dataset.answer,
    items: ticked(answer).map(box => box.value),
    comment: comment(answer).value.trim(),
  })).filter(score => score.items.length || score.comment);

  const show = answer => {
    const found = ticked(answer), sum = found.reduce((total, box) => total + Number(box.dataset.points), 0);
    const earned = Math.round(100 * Math.min(Math.max(sum, 0), Number(most))) / 100;
    answer.querySelector("output").textContent = found.length ? `${earned} of ${most} points` : "not marked";
    answer.classList.toggle("done", found.length > 0);
  };

  const tell = what => {
    const done = answers.filter(answer => ticked(answer).length).length;
    state.textContent = `${done} of ${answers.length} marked; ${what}`;
  };

  const place = who => `tito mark/${module}/${question}/${who}`;
  let who = grader.value.trim();

  const load = found => {
    const known = new Map(found.map(score => [score.answer, score]));
    for (const answer of answers) {
      const score = known.get(answer.dataset.answer) || {items: [], comment: ""};
      for (const box of boxes(answer)) box.checked = score.items.includes(box.value);
      comment(answer).value = score.comment;
      show(answer);
    }
  };

  const save = async () => {
    if (!served) {
      try {
        localStorage.setItem(place(who), JSON.stringify(scores()));
        tell("kept in this browser: download them when you are done");
      } catch {
        keeps = false;
        tell("this browser keeps nothing: download them before you leave");
      }
      return;
    }
    waiting = true;
    if (saving) return;
    saving = true;
    while (waiting) {
      waiting = false;
      try {
        const headers = {"Content-Type": "application/json"};
        const said = await fetch(`${question}.json`, {method: "PUT", headers, body: JSON.stringify(scores())});
        tell(said.ok ? "saved" : await said.text());
      } catch {
        tell("not saved: is tito mark still running?");
      }
    }
    saving = false;
  };

  const changed = answer => { show(answer); save(); };

  const toggle = (answer, box) => {
    box.checked = !box.checked;
    settle(answer, box);
  };

  const settle = (answer, box) => {
    for (const other of boxes(answer)) {
      if (box.checked && other !== box && (box.value === "none" || other.value === "none")) other.checked = false;
    }
    changed(answer);
  };

  const go = (number, focus = true) => {
    if (!answers.length) return;
    answers[current].removeAttribute("aria-current");
    current = Math.min(Math.max(number, 0), answers.length - 1);
    answers[current].setAttribute("aria-current", "true");
    if (focus) {
      answers[current].focus({preventScroll: true});
      answers[current].scrollIntoView({block: "start"});
    }
  };

  const unmarked = () => {
    const order = [...answers.keys()].map(step => (current + 1 + step) % answers.length);
    const next = order.find(number => !ticked(answers[number]).length);
    if (next !== undefined) go(next);
  };

  const say = (answer, text) => {
    const box = comment(answer);
    box.value = box.value.trim() ? `${box.value.trim()}\n${text}` : text;
    changed(answer);
  };

  const download = () => {
    const cell = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    const rows = scores().map(score => [who, question, score.answer, score.items.join(" "), score.comment]);
    const lines = [["grader", "question", "answer", "items", "comment"], ...rows].map(row => row.map(cell).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", lines.join("\r\n"), "\r\n"], {type: "text/csv"}));
    link.download = `${question}-${who.replace(/[^\p{L}\p{N}]+/gu, "_") || "agreed"}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
    tell(`${link.download}: put it into the folder scores`);
  };

  answers.forEach((answer, number) => {
    for (const box of boxes(answer)) box.addEventListener("change", () => settle(answer, box));
    comment(answer).addEventListener("input", () => changed(answer));
    answer.addEventListener("focusin", () => go(number, false));
    answer.addEventListener("click", () => go(number, false));
    for (const text of answer.querySelectorAll(".bank button")) {
      text.addEventListener("click", () => say(answer, text.dataset.text));
    }
  });
  document.getElementById("download").addEventListener("click", download);

  const restore = async () => {
    try {
      load(served ? await (await fetch(`${question}.json`)).json() : JSON.parse(localStorage.getItem(place(who)) || "[]"));
    } catch {
      keeps = false;
    }
    const where = served ? "what you mark is saved at once" : "what you mark is kept in this browser";
    tell(keeps ? where : served ? "tito mark does not answer" : "this browser keeps nothing: download before you leave");
  };

  const rename = () => {  // what was marked before a name was given goes with it; another grader begins anew
    const before = who;
    who = grader.value.trim();
    try {
      if (!before && scores().length && !localStorage.getItem(place(who))) {
        localStorage.setItem(place(who), localStorage.getItem(place(before)));
        localStorage.removeItem(place(before));
      }
      localStorage.setItem("tito mark", who);
    } catch {
      keeps = false;
    }
    restore();
  };
  grader.addEventListener("change", rename);
  if (!served) {
    try {
      grader.value = who = localStorage.getItem("tito mark") || "";
    } catch {
      keeps = false;
    }
  }

  document.addEventListener("keydown", event => {
    const writing = event.target.matches("textarea, input:not([type=checkbox])");
    if (event.ctrlKey || event.metaKey || event.altKey || !answers.length) return;
    if (writing) {
      if (event.key === "Escape") answers[current].focus({preventScroll: true});
      return;
    }
    const answer = answers[current], digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
    const item = digit && boxes(answer)[digit === "0" ? boxes(answer).length - 1 : digit - 1];
    const text = digit && answer.querySelectorAll(".bank button")[digit - 1];
    if (digit && event.shiftKey && event.code.startsWith("Digit")) { if (text) say(answer, text.dataset.text); }
    else if (digit) { if (item && (digit === "0" || item.value !== "none")) toggle(answer, item); }
    else if (event.key === "j") go(current + 1);
    else if (event.key === "k") go(current - 1);
    else if (event.key === "c") comment(answer).focus();
    else if (event.key === "s") download();
    else if (event.key === "Enter" && !event.target.matches("button, a")) unmarked();
    else return;
    event.preventDefault();
  });
  restore().then(() => {
    const asked = answers.findIndex(answer => answer.id === location.hash.slice(1));
    go(asked < 0 ? 0 : asked, asked >= 0);
  });
})();
