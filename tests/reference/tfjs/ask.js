// Asks SavedModels with TensorFlow.js: questions on standard input, answers on output.
//
//   node ask.js FOLDER <questions.json
//
// FOLDER is what install.sh made. {"libraries": [path], "questions": [{"path",
// "signature", "inputs": {name: {"strings": [base64]} or {"integers": [[int]]}}}]}
// becomes [{name: {"dtype", "shape", "values"}} or {"error"}], one for each question.
const path = require('path');
const folder = path.resolve(process.argv[2]);
const tf = require(path.join(folder, 'node_modules/@tensorflow/tfjs-node'));
const loadLibrary = require(path.join(folder, 'load_library.node'));

function tensor({strings, integers}) {
  if (integers) return tf.tensor2d(integers, undefined, 'int32');
  return tf.tensor1d(strings.map((text) => Buffer.from(text, 'base64')), 'string');
}

async function answer({path, signature, inputs}) {
  const model = await tf.node.loadSavedModel(path, ['serve'], signature);
  const asked = Object.entries(inputs).map(([name, value]) => [name, tensor(value)]);
  const answers = Object.entries(model.predict(Object.fromEntries(asked)));
  return Object.fromEntries(answers.map(([name, output]) => [
    name,
    {
      dtype: output.dtype,
      shape: output.shape,
      values: Array.from(output.dataSync()),
    },
  ]));
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const {libraries, questions} = JSON.parse(Buffer.concat(chunks).toString());
  libraries.forEach((library) => loadLibrary(library));
  const answers = [];
  for (const question of questions) {
    answers.push(await answer(question).catch(({message}) => ({error: message})));
  }
  console.log(JSON.stringify(answers));
}

main();
