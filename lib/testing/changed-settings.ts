const CONFIG_CALL = /\bset_config\(\s*(?:\$(\d+)|'([^']+)')/gi;
/** A SET at the beginning of a statement, which may follow another statement or a comment. */
const SET_STATEMENT =
  /(?:^|;)(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*set\s+(?:local\s+|session\s+)?("?[\w.]+"?)\s*(?:=|to\b|\s)/gi;

/** The words after SET that name no setting. */
const NOT_SETTINGS = new Set(['transaction', 'constraints', 'characteristics', 'authorization']);

/** What every text holds that changes a setting. Most texts do not, and are not looked at more closely. */
const MAY_CHANGE = /set/i;

/** The names of the settings that a text may change; in doubt a name is among them. */
export function changedSettings(sql: string, values: readonly unknown[]): readonly string[] {
  if (!MAY_CHANGE.test(sql)) {
    return [];
  }
  const called = [...sql.matchAll(CONFIG_CALL)].map(([, index, name]) =>
    index === undefined ? name! : String(values[Number(index) - 1]),
  );
  const set = [...sql.matchAll(SET_STATEMENT)]
    .map(([, name]) => name!.replaceAll('"', '').toLowerCase())
    .filter((name) => !NOT_SETTINGS.has(name))
    .map((name) => (name === 'time' ? 'timezone' : name));
  return [...called, ...set];
}
