import { isUnanswered } from '../../lib/postgresql/unanswered.js';

const NOTHING = { command: null, rowCount: null, rows: [] };
const SELECTED = { ...NOTHING, command: 'SELECT' };

describe('F4: an answer without a command tag', () => {
  it.each(['', ' ;\n; ', "-- it's nothing", '/* /* in */ -- -- */', '-- a\n/* b */;'])(
    'is the answer to the empty text %j',
    (sql) => {
      expect(isUnanswered(sql, NOTHING)).toBe(false);
      expect(isUnanswered(sql, [])).toBe(false);
    },
  );

  it.each(['select 1', "-- a\nselect '--'", '/* -- */ select 1', '/* /* in */ */ x', "'text'"])(
    'is no answer to %j',
    (sql) => {
      expect(isUnanswered(sql, NOTHING)).toBe(true);
      expect(isUnanswered(sql, [])).toBe(true);
      expect(isUnanswered(sql, [SELECTED, NOTHING])).toBe(true);
      expect(isUnanswered(sql, SELECTED)).toBe(false);
      expect(isUnanswered(sql, [SELECTED, SELECTED])).toBe(false);
    },
  );
});
