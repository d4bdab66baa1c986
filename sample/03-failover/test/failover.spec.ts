import { play } from '../play/play.js';
import { summaryText } from '../play/report.js';

describe('sample 03-failover', () => {
  it('goes on on the standby once it is promoted, and nothing acknowledged is missing', async () => {
    const lines: string[] = [];
    const summary = await play(
      { clients: 4, beforeMs: 500, withoutPrimaryMs: 500, afterMs: 500, lineMs: 100 },
      (line) => lines.push(line),
    );
    expect(summary).toMatchObject({
      missing: 0,
      found: summary.acknowledged,
      failedAfterPromotion: 0,
    });
    expect(summary.acknowledged).toBeGreaterThanOrEqual(40);
    expect(summary.failed).toMatchObject({ NO_PRIMARY: expect.any(Number) });
    expect(summary.promotionToSuccessMs).toBeLessThan(2_000);

    const account = lines.join('\n');
    expect(account).toMatch(/--- the primary is killed/);
    expect(account).toMatch(/ok +\d+ +failed +\d+ {2}on 127\.0\.0\.1:\d+ {2}\(.*\d+ NO_PRIMARY\)/);
    const hosts = lines.flatMap((line) => /on (\S+)/.exec(line)?.[1] ?? []);
    expect(new Set(hosts).size).toBe(2);
    expect(summaryText(summary)).toMatch(/^missing +0$/m);
  }, 60_000);
});
