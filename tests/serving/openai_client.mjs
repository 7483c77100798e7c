// What a program does with OpenAI's client for JavaScript; prints what it got as JSON.
import OpenAI from "openai";

const [url, image] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "any", maxRetries: 0 });
const messages = [
  {
    role: "user",
    content: [
      { type: "text", text: "Describe this photo." },
      { type: "image_url", image_url: { url: image } },
    ],
  },
];

const caption = await client.chat.completions.create({ model: "tiny", messages });
let streamed = "";
for await (const chunk of await client.chat.completions.create({ model: "tiny", messages, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
const response = await client.responses.create({
  model: "tiny",
  input: [{ role: "user", content: [{ type: "input_image", image_url: image, detail: "auto" }] }],
});
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let error = null;
try {
  await client.chat.completions.create({ model: "tiny", messages: [{ role: "user", content: "A title?" }] });
} catch (problem) {
  error = { status: problem.status, code: problem.code, param: problem.param };
}
console.log(
  JSON.stringify({
    caption: caption.choices[0].message.content,
    streamed,
    response: response.output_text,
    models,
    error,
  }),
);
