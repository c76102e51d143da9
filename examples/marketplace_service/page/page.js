// The page of the marketplace service. Data from the server is inserted as text, never as HTML.

const byId = (id) => document.getElementById(id);
const short = (id) => id.slice(0, 8);
const money = (amount, currency) => new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" }).format(amount);
const plainTopic = (topic) => topic.replace(/^eventzr\.(marketplace\.)?/, "").replace(/\.v1$/, "");
const MOST_LINES = 100;
const AGAIN_AFTER = 1000; // milliseconds
const SILENT = 45_000; // milliseconds; the server sends at least a comment every 15 s
const OF_TENANT = ["listings", "orders", "sellers", "counts", "failures", "dead-letters", "feed"];

let tenant = new URLSearchParams(location.search).get("tenant") || "tenant-a";
let shown = new AbortController(); // aborted when another tenant is selected
let refreshing = 0;

// Elements

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function button(label, name, act, { neighbour = false } = {}) {
  const made = element("button", { type: "button" });
  if (neighbour) {
    made.classList.add("neighbour");
    made.append(element("span", { className: "from", ariaHidden: "true" }, "⚡ "));
  }
  made.append(label);
  made.dataset.key = name; // finds the button again after the table was redrawn
  made.setAttribute("aria-label", `${label}: ${name.split("/").pop()}`);
  made.addEventListener("click", () => attempt(label, act, made));
  return made;
}

function table(id, heads, rows, empty) {
  const focused = document.activeElement?.dataset?.key;
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map(cell)));
  if (!rows.length) body.push(element("tr", {}, element("td", { colSpan: heads.length, className: "empty" }, empty)));
  byId(id).replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
  focusAgain(focused);
}

function focusAgain(key, otherwise = null) {
  const found = key && document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  (found || otherwise)?.focus();
}

function cell(content) {
  if (Array.isArray(content)) return element("td", {}, ...content);
  if (typeof content === "number") return element("td", { className: "number" }, String(content));
  return element("td", {}, content ?? "–");
}

const stateOf = (thing) => [element("span", { className: "state" }, thing.state)];

// The server

async function call(method, path, body) {
  const headers = { "X-Tenant-Id": tenant, "Content-Type": "application/json" };
  if (method === "POST") headers["Idempotency-Key"] = crypto.randomUUID();
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail || response.statusText);
  return answer;
}

const get = (path) => call("GET", path);
const post = (path, body) => call("POST", path, body);
const neighbour = (topic, payload) => post(`playground/eventzr.${topic}.v1`, { id: crypto.randomUUID(), ...payload });

async function attempt(label, act, pressed) {
  pressed.disabled = true;
  try {
    const answer = await act();
    showMessage(typeof answer === "string" ? answer : `${label}: done`);
  } catch (error) {
    showMessage(`${label}: ${error.message}`, "bad");
  } finally {
    pressed.disabled = false;
    if (document.activeElement === document.body) focusAgain(pressed.dataset.key, pressed);
  }
  await refresh();
}

function showMessage(text, kind = "") {
  byId("message").textContent = text;
  byId("message").className = kind;
}

// The tables

async function refresh() {
  const mine = ++refreshing;
  const paths = ["listings", "orders", "payouts", "disputes", "sellers", "event-counts", "dead-letters"];
  const answers = await Promise.all(paths.map(get)).catch((error) => showMessage(`Refresh: ${error.message}`, "bad"));
  if (!answers || mine !== refreshing) return; // a newer refresh has started
  const [listings, orders, payouts, disputes, sellers, counts, letters] = answers;
  const open = disputes.filter((dispute) => dispute.state === "opened");
  showListings(listings);
  showOrders(orders, byKey(payouts, "id"), byKey(open, "orderId"));
  showSellers(sellers);
  showCounts(counts);
  showDeadLetters(letters);
}

const byKey = (rows, key) => new Map(rows.map((row) => [row[key], row]));

function showListings(listings) {
  const heads = ["Title", "Lane", "Seller", "Price", "State", "Quality", "Actions"];
  table("listings", heads, listings.map((listing) => [
    listing.title,
    listing.lane,
    listing.sellerName ?? listing.sellerId,
    money(listing.price, listing.currency),
    stateOf(listing),
    listing.qualityScore,
    listingActions(listing),
  ]), "No listings yet");
}

function listingActions(listing) {
  const path = `listings/${listing.id}`;
  const name = (what) => `${what}/${listing.title} ${short(listing.id)}`;
  const review = { sellerId: listing.sellerId, listingId: listing.id, rating: 4 };
  const open = [
    button("Order", name("order"), () => order(listing)),
    button("Close", name("close"), () => post(`${path}/close`, { reason: "sold_out" })),
    button("Review", name("review"), () => neighbour("reviews.review.created", review), { neighbour: true }),
  ];
  if (listing.state === "draft") return [button("Publish", name("publish"), () => post(`${path}/publish`))];
  return listing.state === "closed" ? [open[2]] : open;
}

async function order(listing) {
  const quote = await post(`listings/${listing.id}/quotes`, { buyerId: "buyer-bo", amount: listing.price });
  const made = await post(`quotes/${quote.id}/accept`);
  return `Order ${short(made.id)} created`;
}

function showOrders(orders, payouts, disputes) {
  const heads = ["Order", "Seller", "Amount", "State", "Refunded", "Payout", "Actions"];
  table("orders", heads, orders.map((order) => [
    short(order.id),
    order.sellerId,
    money(order.amount, order.currency),
    [...stateOf(order), disputes.has(order.id) ? " in dispute" : ""],
    order.refunded ? money(order.refunded, order.currency) : null,
    payoutOf(payouts.get(order.id)),
    orderActions(order, payouts.get(order.id), disputes.get(order.id)),
  ]), "No orders yet");
}

const payoutOf = (payout) => payout && `${payout.state}: ${money(payout.amount, payout.currency)}`;

function orderActions(order, payout, dispute) {
  const name = (what) => `${what}/order ${short(order.id)}`;
  const step = (what) => () => post(`orders/${order.id}/${what}`);
  const sum = { orderId: order.id, amount: order.amount, currency: order.currency };
  const release = () => neighbour("wallet.escrow.released", { ...sum, sellerId: order.sellerId });
  const pay = () => neighbour("wallet.payment.completed", sum);
  const cancel = () => post(`orders/${order.id}/cancel`, { reason: "buyer_request" });
  const actions = dispute ? disputeActions(order, payout, dispute, name) : [];
  if (order.state === "created") actions.push(button("Pay", name("pay"), pay, { neighbour: true }));
  if (order.state === "paid") actions.push(button("Deliver", name("deliver"), step("deliver")));
  if (order.state === "delivered" && !dispute) actions.push(button("Complete", name("complete"), step("complete")));
  if (["created", "paid"].includes(order.state) && !dispute) actions.push(button("Cancel", name("cancel"), cancel));
  if (["paid", "delivered"].includes(order.state) && payout?.state === "pending" && !dispute)
    actions.push(button("Dispute", name("dispute"), () => post(`orders/${order.id}/disputes`, { reason: "not_as_described" })));
  if (!["cancelled", "refunded"].includes(order.state) && !payout?.escrowId)
    actions.push(button("Release escrow", name("release"), release, { neighbour: true }));
  return actions;
}

function disputeActions(order, payout, dispute, name) {
  const resolve = (resolution) => () => post(`disputes/${dispute.id}/resolve`, resolution);
  const half = Math.floor(payout.amount / 2); // whole units fit every currency
  const split = button("Split", name("split"), resolve({ outcome: "split", refund: half }));
  return [
    button("Refund buyer", name("refund"), resolve({ outcome: "buyer_refunded" })),
    ...(half > 0 ? [split] : []),
    button("Pay seller", name("pay-seller"), resolve({ outcome: "seller_paid" })),
  ];
}

function showSellers(sellers) {
  const heads = ["Seller", "Name", "Rating", "Tier", "Open listings", "Actions"];
  table("sellers", heads, sellers.map((seller) => [
    seller.id,
    seller.displayName,
    seller.rating === null ? null : `${seller.rating} (${seller.ratingCount})`,
    seller.tier,
    seller.listingLimit === null ? "no limit" : `up to ${seller.listingLimit}`,
    sellerActions(seller),
  ]), "No sellers yet");
}

function sellerActions(seller) {
  const pro = seller.tier !== "pro";
  const change = { sellerId: seller.id, tier: pro ? "pro" : "free", entitlements: [], listingLimit: pro ? 20 : 5 };
  const rename = { id: seller.id, displayName: `${seller.id} since ${new Date().toLocaleTimeString()}` };
  const subscribe = () => neighbour("subscriptions.subscription.changed", change);
  return [
    button(pro ? "Upgrade" : "Downgrade", `tier/${seller.id}`, subscribe, { neighbour: true }),
    button("Rename", `rename/${seller.id}`, () => neighbour("user.profile.updated", rename), { neighbour: true }),
  ];
}

function showCounts(events) {
  const counts = [["published", events.published], ["handled", events.handled], ["retried", events.retried], ["dead letters", events.deadLetters]];
  byId("counts").replaceChildren(...counts.flatMap(([name, count]) => [element("dt", {}, name), element("dd", {}, String(count))]));
  const lines = events.failures.map((failure) => element("li", {},
    element("span", { className: "bad" }, failure.outcome),
    ` ${plainTopic(failure.topic)}, attempt ${failure.attempt} `,
    element("small", {}, `${failure.error} · ${failure.position}`)));
  byId("failures").replaceChildren(...orNothing(lines, "None"));
}

function showDeadLetters(letters) {
  const lines = letters.map((letter) => element("li", {},
    element("span", { className: letter.replayedAt ? "done" : "bad" }, letter.replayedAt ? "replayed" : "open"),
    ` ${plainTopic(letter.topic)} after ${letter.attempts} ${letter.attempts === 1 ? "attempt" : "attempts"} `,
    element("small", {}, letter.error === "Reject" ? letter.reason : `${letter.handler}: ${letter.error}`),
    letter.replayedAt ? null : button("Replay", `replay/${letter.position}`, () => replay(letter))));
  const focused = document.activeElement?.dataset?.key;
  byId("dead-letters").replaceChildren(...orNothing(lines, "None"));
  focusAgain(focused);
}

async function replay(letter) {
  showMessage("Replaying…");
  const result = await post(`dead-letters/${encodeURIComponent(letter.position)}/replay`);
  if (!result.succeeded) throw new Error(result.summary);
  return result.summary;
}

const orNothing = (lines, text) => (lines.length ? lines : [element("li", { className: "empty" }, text)]);

// The live feed. An EventSource cannot send the tenant's header, so fetch reads the stream. After an interruption the
// stream continues with the line after the last one.

async function follow(signal) {
  let last = null; // no line is shown yet
  while (!signal.aborted) {
    try {
      last ??= await begin(signal);
      for await (const message of messages(last, signal)) {
        if (signal.aborted) return;
        last = Number(message.id ?? last);
        if (message.event === "activity") showLine(JSON.parse(message.data));
        if (message.event) soon();
      }
    } catch (error) {
      if (signal.aborted) return;
      if (last === null) showMessage(`The service does not respond: ${error.message}`, "bad");
    }
    byId("connection").textContent = "connection lost; reconnecting";
    await new Promise((resolve) => { setTimeout(resolve, AGAIN_AFTER); });
  }
}

async function begin(signal) {
  const [api, lines] = await Promise.all([get("openapi.json"), get("activity")]);
  signal.throwIfAborted();
  showMessage("");
  document.body.classList.toggle("no-playground", !("/playground/{topic}" in api.paths));
  lines.toReversed().forEach(showLine);
  return lines[0]?.number ?? 0;
}

async function* messages(last, signal) {
  const silence = new AbortController();
  let timer = null;
  const restartTimer = () => { clearTimeout(timer); timer = setTimeout(() => silence.abort(), SILENT); };
  restartTimer();
  const headers = { "X-Tenant-Id": tenant, "Last-Event-ID": String(last) };
  const response = await fetch("activity/stream", { headers, signal: AbortSignal.any([signal, silence.signal]) });
  if (!response.ok) throw new Error(response.statusText);
  byId("connection").textContent = "live";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    restartTimer();
    const whole = (text + part.value).split("\n\n");
    text = whole.pop();
    yield* whole.map((message) => Object.fromEntries(message.split("\n").map((line) => line.split(/: (.*)/, 2))));
  }
}

function showLine(line) {
  const arrow = line.direction === "out" ? "→ out" : "← in";
  const made = element("li", {},
    element("span", { className: line.direction }, arrow),
    ` ${plainTopic(line.topic)} `,
    element("small", {}, `${line.subject ?? ""} `),
    element("time", { dateTime: line.at }, new Date(line.at).toLocaleTimeString()));
  byId("feed").prepend(made);
  while (byId("feed").children.length > MOST_LINES) byId("feed").lastChild.remove();
}

let waiting = null;
function soon() {
  waiting ??= setTimeout(() => { waiting = null; refresh(); }, 150);
}

function open() {
  shown.abort();
  shown = new AbortController();
  refreshing += 1; // running requests are those of the previous tenant
  for (const id of OF_TENANT) byId(id).replaceChildren();
  byId("connection").textContent = "connecting";
  follow(shown.signal);
}

// Forms and buttons outside of the tables

byId("tenant").value = tenant;
byId("tenant").addEventListener("change", () => {
  if (!byId("tenant").reportValidity()) return;
  tenant = byId("tenant").value;
  history.replaceState(null, "", `?tenant=${encodeURIComponent(tenant)}`);
  open();
});
byId("settings").addEventListener("submit", (event) => event.preventDefault());
byId("theme").addEventListener("change", () => { document.documentElement.style.colorScheme = byId("theme").value; });
byId("new-listing").addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(event.target));
  const listing = { ...fields, price: Number(fields.price), currency: "USD" };
  attempt("Create listing", () => post("listings", listing), event.submitter);
});
byId("announce").addEventListener("click", (event) => {
  const gold = { title: "Gold", price: 2500, currency: "USD" };
  const fair = { title: "Spring Fair", exhibitorSlots: 12, sponsorshipOpportunities: [gold] };
  attempt("Announce a fair", () => neighbour("event.created", fair), event.currentTarget);
});
byId("stray").addEventListener("click", (event) => {
  const payment = { orderId: crypto.randomUUID(), amount: 1, currency: "USD" };
  attempt("Pay an unknown order", () => neighbour("wallet.payment.completed", payment), event.currentTarget);
});
open();
