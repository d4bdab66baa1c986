import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import ts from 'typescript';

/** What tools call the second thing of one name. */
const NUMBERED = /[_$]\d+$/;

/** Ids of promises, which the documentation explains and an editor does not. */
const PROMISES = /\([A-Z]\d(?:, [A-Z]\d)*\)/g;

/**
 * What a reader of the declarations of a package would stumble over: names that only a tool can have given,
 * members that are tagged as `@internal` and were to be left out, and ids of promises.
 *
 * @param {string} directory - with the declarations, also below it
 * @returns {Promise<string[]>} the findings, with the file of each
 */
export async function findingsIn(directory) {
  const names = await readdir(directory, { recursive: true });
  const findings = [];
  for (const name of names.filter((each) => each.endsWith('.d.ts'))) {
    const text = await readFile(join(directory, name), 'utf8');
    const file = ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true);
    const found = new Set(findingsOf(file));
    findings.push(...[...found].map((finding) => `${name}: ${finding}`));
  }
  return findings;
}

function findingsOf(node) {
  const own = [];
  if (ts.isIdentifier(node) && NUMBERED.test(node.text)) {
    own.push(`a name that a tool has made, ${node.text}`);
  }
  if (ts.isJSDocUnknownTag(node) && node.tagName.text === 'internal') {
    own.push(`internal: ${node.parent.parent.getText().split('\n', 1)[0]}`);
  }
  if (ts.isJSDoc(node)) {
    const ids = node.getText().match(PROMISES) ?? [];
    own.push(...ids.map((each) => `an id of a promise, ${each}`));
  }
  return [...own, ...node.getChildren().flatMap(findingsOf)];
}
