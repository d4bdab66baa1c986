/** What a report of the API says of a declaration that a user cannot name, or knows nothing of. */
const FINDINGS = [
  [/^\/\/ Warning: \(ae-forgotten-export\) The symbol ("[^"]+")/, 'a public signature needs'],
  [/^\/\/ Not exported, and needed by @internal members alone: (.*)$/, 'left in for nobody'],
  [/^\/\/ @public \(undocumented\)\n(.*)$/, 'without a docstring'],
];

/**
 * @param {Map<string, string>} reports - see api-report.mjs
 * @returns {string[]} the findings, with the report of each
 */
export function findingsOfReports(reports) {
  return [...reports].flatMap(([name, text]) =>
    FINDINGS.flatMap(([pattern, problem]) =>
      [...text.matchAll(new RegExp(pattern, 'gm'))].map(
        ([, declaration]) => `${name}: ${problem}: ${declaration}`,
      ),
    ),
  );
}
