// node read.cjs BROKERS COUNT TOPIC…
// Reads COUNT records from the topics' beginning with the JavaScript SDK and prints each as a line of JSON.
"use strict";

const { randomUUID } = require("node:crypto");
const { Kafka } = require("cloudevents");
const { Kafka: Client, logLevel } = require("kafkajs");

function toLine(topic, partition, { key, value, headers }) {
  const texts = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, text.toString()]));
  const event = Kafka.toEvent({ key: key.toString(), value, headers: texts });
  event.validate();
  return JSON.stringify({ topic, partition, event });
}

async function main(brokers, count, ...topics) {
  const client = new Client({ brokers: brokers.split(","), logLevel: logLevel.ERROR });
  const consumer = client.consumer({ groupId: `javascript-${randomUUID()}` });
  await consumer.connect();
  await consumer.subscribe({ topics, fromBeginning: true });
  await new Promise((resolve, reject) => {
    let left = Number(count);
    const eachMessage = async ({ topic, partition, message }) => {
      try {
        if (left > 0) console.log(toLine(topic, partition, message));
      } catch (error) {
        reject(error);
      }
      left -= 1;
      if (left === 0) resolve();
    };
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
}

main(...process.argv.slice(2));
