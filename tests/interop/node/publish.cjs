// node publish.cjs BROKERS <<< '[{"topic": …, "mode": "structured" | "binary", "event": {…}}, …]'
// Writes events with the JavaScript SDK, each keyed by its tenant, and prints where they are as JSON.
"use strict";

const { CloudEvent, Kafka } = require("cloudevents");
const { Kafka: Client, logLevel } = require("kafkajs");

function toMessage({ mode, event: { dataInBase64, ...attributes } }) {
  const data = dataInBase64 === undefined ? attributes.data : Buffer.from(dataInBase64, "base64");
  const event = new CloudEvent({ ...attributes, ...(data === undefined ? {} : { data }) });
  const { key, value, headers } = Kafka[mode](event);
  return {
    key: key ?? event.tenantid,
    value: typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value),
    headers: Object.fromEntries(
      Object.entries(headers)
        .filter(([, text]) => text !== undefined)
        .map(([name, text]) => [name, String(text)]),
    ),
  };
}

async function main(brokers) {
  const wanted = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
  const producer = new Client({ brokers: brokers.split(","), logLevel: logLevel.ERROR }).producer();
  await producer.connect();
  const places = [];
  for (const each of wanted) {
    const [{ partition, baseOffset }] = await producer.send({ topic: each.topic, acks: -1, messages: [toMessage(each)] });
    places.push({ topic: each.topic, partition, offset: Number(baseOffset) });
  }
  await producer.disconnect();
  console.log(JSON.stringify(places));
}

main(...process.argv.slice(2));
