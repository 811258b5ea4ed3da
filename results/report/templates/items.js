// The item browser: what each method scored and answered on single items. Its data lie compressed
// in the page and are unpacked when they are first looked at. Texts only ever become text nodes.
(() => {
  const root = document.getElementById("item-browser");
  if (!root) return;
  const chunks = [...document.querySelectorAll("script.item-chunk")];
  const PAGE = 10;
  const state = { chunk: 0, arm: "all", show: "scores", order: "size", text: "", page: 0 };
  const sheets = new Map();
  let found = [];

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };

  const unpack = async (chunk) => {
    const bytes = Uint8Array.from(atob(chunk.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const sheet = await new Response(stream).json();
    let start = 0;
    sheet.starts = sheet.choices.map((choices) => (start += choices.length) - choices.length);
    sheet.arms.forEach((arm) => {
      arm.scores = arm.scores.map((x) => (x === null ? NaN : Number(String(x).replace("inf", "Infinity"))));
    });
    return sheet;
  };

  const load = (index) => {
    if (!sheets.has(index)) sheets.set(index, unpack(chunks[index]));
    return sheets.get(index);
  };

  // --- what an arm did on an item

  const gain = (sheet, arm, item) => {
    const ours = sheet.arms[arm].scores[item], theirs = sheet.arms[0].scores[item];
    return ours === theirs ? 0 : sheet.better * (ours - theirs);
  };

  const likelihood = (sheet, arm, item, choice) => {
    const all = sheet.arms[arm].likelihoods;
    const value = all && all[sheet.starts[item] + choice];
    return value === undefined || value === null ? NaN : Number(String(value).replace("inf", "Infinity"));
  };

  const answer = (sheet, arm, item) => {
    const { texts, picks } = sheet.arms[arm];
    if (texts) return texts[item] === null ? null : sheet.texts[texts[item]];
    if (!picks || picks[item] === null) return null;
    return sheet.texts[sheet.choices[item][picks[item]]];
  };

  const differs = (sheet, arm, item) => {
    if (state.show === "all") return true;
    if (state.show === "answers") return answer(sheet, arm, item) !== answer(sheet, 0, item);
    const size = gain(sheet, arm, item);
    if (state.show === "better") return size > 0;
    if (state.show === "worse") return size < 0;
    return size !== 0 && !Number.isNaN(size);
  };

  const words = (sheet, item) => {
    sheet.words = sheet.words || [];
    if (!sheet.words[item]) {
      const parts = [sheet.items[item], sheet.texts[sheet.prompts[item]]];
      parts.push(...sheet.choices[item].map((choice) => sheet.texts[choice]));
      sheet.arms.forEach((arm, index) => { if (arm.texts) parts.push(answer(sheet, index, item)); });
      sheet.words[item] = parts.join("\n").toLowerCase();
    }
    return sheet.words[item];
  };

  const armsInQuestion = (sheet) =>
    state.arm === "all" ? sheet.arms.slice(1).map((_, i) => i + 1) : [Number(state.arm)];

  const select = (sheet) => {
    const arms = armsInQuestion(sheet), text = state.text.trim().toLowerCase();
    const entries = [];
    sheet.items.forEach((_, item) => {
      const mine = arms.filter((arm) => differs(sheet, arm, item));
      if (!mine.length || (text && !words(sheet, item).includes(text))) return;
      const sizes = mine.map((arm) => Math.abs(gain(sheet, arm, item))).filter((x) => !Number.isNaN(x));
      entries.push({ item, arms: mine, size: Math.max(0, ...sizes) });
    });
    if (state.order === "size") entries.sort((a, b) => (a.size === b.size ? 0 : b.size - a.size));
    return entries;
  };

  // --- numbers in words

  const score = (sheet, value) => {
    if (Number.isNaN(value)) return "–";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
    const digits = sheet.scale === 100 ? 1 : 3;
    return (sheet.scale * value).toFixed(digits);
  };

  const change = (sheet, arm, item) => {
    const difference = sheet.better * gain(sheet, arm, item);
    return (difference > 0 ? "+" : "") + score(sheet, difference);
  };

  const tone = (size) => (size > 0 ? "tone-good" : size < 0 ? "tone-bad" : "tone-open");

  // --- one item

  const text = (value) => make("div", { class: "item-text" }, value.trim() || "(nothing)");

  // --- what is right

  const rightChoices = (sheet, item) => new Set(sheet.right[item]);

  const correct = (sheet, item) => {
    const choices = sheet.right[item].map((choice) => sheet.texts[sheet.choices[item][choice]]);
    const all = [...choices, ...sheet.references[item].map((reference) => sheet.texts[reference])];
    return [...new Set(all.map((answer) => answer.trim()).filter(Boolean))];
  };

  const correctBlock = (sheet, item) => {
    const answers = correct(sheet, item);
    if (!answers.length) return [];
    const heading = make("b", {}, answers.length > 1 ? "Correct answers" : "Correct answer");
    const lines = answers.map((answer) => make("li", {}, text(answer)));
    return [make("div", { class: "right" }, heading, make("ul", {}, ...lines))];
  };

  const isRight = (sheet, arm, item) => {
    const { picks } = sheet.arms[arm];
    return Boolean(picks) && picks[item] !== null && rightChoices(sheet, item).has(picks[item]);
  };

  const methodLine = (sheet, arm, item) => {
    const { name, detail } = sheet.arms[arm];
    const said = answer(sheet, arm, item);
    const size = arm === 0 ? 0 : gain(sheet, arm, item);
    const head = make("div", { class: "arm" }, make("b", {}, name));
    if (detail) head.append(make("small", {}, detail));
    const numbers = make("div", { class: "numbers" }, make("span", { class: "sr" }, "Score "),
      score(sheet, sheet.arms[arm].scores[item]));
    const difference = make("span", { class: `change ${tone(size)}` });
    if (arm !== 0) difference.append(make("span", { class: "sr" }, "Difference "), change(sheet, arm, item));
    numbers.append(" ", difference);
    const shown = said === null ? make("span", { class: "muted" }, "answer not stored here") : text(said);
    if (isRight(sheet, arm, item)) shown.append(make("span", { class: "is-right" }, " ✓ correct"));
    return make("li", {}, head, numbers, make("div", { class: "said" }, shown));
  };

  const table = (label, heads, rows) =>
    make(
      "div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
      make(
        "table", {},
        make("thead", {}, make("tr", {}, ...heads.map(([name, number]) =>
          make("th", { scope: "col", class: number ? "number plain" : "plain" }, name)))),
        make("tbody", {}, ...rows),
      ),
    );

  const choiceText = (sheet, item, choice, number) => {
    const shown = text(sheet.texts[choice]);
    if (rightChoices(sheet, item).has(number)) shown.append(make("span", { class: "is-right" }, " ✓ correct"));
    return shown;
  };

  const choiceTable = (sheet, arm, item) => {
    const columns = [0, arm];
    const picks = columns.map((each) => sheet.arms[each].picks[item]);
    const rows = sheet.choices[item].map((choice, number) =>
      make(
        "tr", {},
        make("th", { scope: "row", class: "choice" }, choiceText(sheet, item, choice, number)),
        ...columns.map((each, place) => {
          const value = likelihood(sheet, each, item, number);
          const shown = Number.isNaN(value) ? "–" : value.toFixed(2);
          const mark = picks[place] === number ? " ● likeliest" : "";
          return make("td", { class: "number" }, shown + mark);
        }),
      ),
    );
    const heads = [["Choice", false], ...columns.map((each) => [`Log-likelihood, ${sheet.arms[each].name}`, true])];
    return table("Log-likelihoods of all choices", heads, rows);
  };

  const card = (sheet, { item, arms }) => {
    const id = sheet.items[item];
    const element = make("article", { class: "card item", "aria-label": `Item ${id}` });
    element.append(make("p", { class: "part" }, `Item ${id}`));
    const prompt = sheet.texts[sheet.prompts[item]];
    if (prompt) {
      element.append(make("div", { class: "prompt", tabindex: "0", role: "region", "aria-label": `Prompt of item ${id}` }, prompt));
    }
    element.append(...correctBlock(sheet, item));
    const lines = [0, ...arms].map((arm) => methodLine(sheet, arm, item));
    element.append(make("ul", { class: "arms", "aria-label": `Methods on item ${id}` }, ...lines));
    const known = (arm) => sheet.arms[arm].picks && sheet.choices[item].length > 1;
    if (arms.length === 1 && known(arms[0]) && known(0)) {
      element.append(make("details", {}, make("summary", {}, "All choices"), choiceTable(sheet, arms[0], item)));
    }
    return element;
  };

  // --- the list and its controls

  const list = make("div", { class: "item-list" });
  const count = make("p", { class: "explain", role: "status", "aria-live": "polite" });
  const place = make("span", { class: "place" });
  const about = make("p", { class: "part" });
  const turn = (by) => {
    state.page += by;
    draw().then(() => root.scrollIntoView({ block: "start" }));
  };
  const back = make("button", { type: "button", onclick: () => turn(-1) }, "← Previous");
  const next = make("button", { type: "button", onclick: () => turn(1) }, "Next →");

  const draw = async () => {
    const sheet = await load(state.chunk);
    found = select(sheet);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const start = state.page * PAGE;
    list.replaceChildren(...found.slice(start, start + PAGE).map((entry) => card(sheet, entry)));
    count.textContent = `${found.length} of ${sheet.items.length} items`;
    const kind = sheet.choices.some((choices) => choices.length) ? "the likeliest choice" : "the answer";
    about.textContent = `${chunks[state.chunk].dataset.summary} Each method with its score (${sheet.unit}), its ` +
      `difference to the baseline, and ${kind}.`;
    place.textContent = `Page ${state.page + 1} of ${pages}`;
    back.disabled = state.page === 0;
    next.disabled = state.page === pages - 1;
  };

  const failed = (error) => {
    count.textContent = `The items cannot be unpacked by this browser (${error.message}). They are in items.jsonl.`;
  };
  const refresh = () => { state.page = 0; draw().catch(failed); };

  const csv = async () => {
    const sheet = await load(state.chunk);
    // A text that begins so would be a formula in a spreadsheet.
    const safe = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
    const quote = (value) => `"${String(safe(value) ?? "").replaceAll('"', '""')}"`;
    const lines = [["item", "method", "score", "baseline score", "prompt", "correct", "answer", "baseline answer"]];
    found.forEach(({ item, arms }) => arms.forEach((arm) => lines.push([
      sheet.items[item], sheet.arms[arm].name, sheet.arms[arm].scores[item], sheet.arms[0].scores[item],
      sheet.texts[sheet.prompts[item]], correct(sheet, item).join(" | "),
      answer(sheet, arm, item), answer(sheet, 0, item),
    ])));
    const blob = new Blob([lines.map((line) => line.map(quote).join(",")).join("\r\n")], { type: "text/csv" });
    const link = make("a", { href: URL.createObjectURL(blob), download: "items.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const labelled = (label, element) => make("label", {}, make("span", {}, label), element);
  const options = (pairs) => pairs.map(([value, name]) => make("option", { value }, name));
  const choice = (key, pairs) => {
    const element = make("select", { onchange: () => { state[key] = element.value; refresh(); } });
    element.append(...options(pairs));
    return element;
  };

  const methods = choice("arm", []);
  const fillMethods = (sheet) => {
    const names = sheet.arms.slice(1).map((arm, i) => [String(i + 1), arm.name]);
    const before = methods.selectedOptions[0]?.textContent;
    methods.replaceChildren(...options([["all", "any"], ...names]));
    const same = names.find(([, name]) => name === before);
    methods.value = state.arm = same ? same[0] : "all";
  };

  const tasks = make("select", { onchange: () => {
    state.chunk = Number(tasks.value);
    load(state.chunk).then(fillMethods).then(refresh).catch(failed);
  } }, ...options(chunks.map((chunk, i) => [i, chunk.dataset.title])));

  let waiting = 0;
  const search = make("input", { type: "search", placeholder: "prompt, answer or item", oninput: () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { state.text = search.value; refresh(); }, 150);
  } });

  const begin = () => {
    root.append(
      make(
        "div", { class: "controls" },
        labelled("Task", tasks),
        labelled("Method", methods),
        labelled("Show", choice("show", [
          ["scores", "scores that differ"], ["answers", "answers that differ"],
          ["better", "better than the baseline"], ["worse", "worse than the baseline"],
          ["all", "all items"],
        ])),
        labelled("Order", choice("order", [
          ["size", "by difference"], ["item", "by item"],
        ])),
        labelled("Search", search),
        make("button", { type: "button", onclick: csv }, "Download as CSV"),
      ),
      about, count, list,
      make("div", { class: "pager" }, back, place, next),
    );
    load(0).then(fillMethods).then(draw).catch(failed);
  };

  const seen = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { seen.disconnect(); begin(); }
  }, { rootMargin: "800px" });
  seen.observe(root);
})();
