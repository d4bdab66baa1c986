import { createTestDatabase } from '../../../test/support/database.js';
import { describeWithRedis, startRedis } from '../../../test/support/redis.js';
import { play } from '../play/play.js';

describeWithRedis('sample 08-jobs', () => {
  it('sends jobs with the commit, works each in one transaction, and leaves none in the middle', async () => {
    const [database, redis] = await Promise.all([createTestDatabase(), startRedis()]);
    const lines: string[] = [];
    try {
      const summary = await play({
        databaseUrl: database.url,
        redisPort: redis.connection.port,
        print: (line) => lines.push(line),
      });
      expect(summary).toMatchObject({ orders: 2, failed: 0 });
      expect(summary.done + summary.waiting).toBe(60);
      const [, tea, soldOut, jam] = lines.join('\n').split('---');
      expect(tea).toMatch(/order 1 .* job is held\n/);
      expect(tea).toMatch(/client {3}is answered with 201/);
      expect(tea).toMatch(/worker {3}order 1 \(tea\) has 1 receipt, written in attempt 1/);
      expect(tea).toMatch(/outbox {3}invoice of order 1 \(tea\)/);
      expect(tea).toMatch(/cron {5}orders without a receipt: \d/);
      expect(soldOut).toMatch(/order 2 .* job is held\n.*is answered with 409/);
      expect(soldOut).not.toMatch(/worker|outbox/);
      expect(jam).toMatch(/order 3 is written, and the paper is stuck/);
      expect(jam).toMatch(/worker {3}order 3 \(jam\) has 1 receipt, written in attempt 2/);
    } finally {
      await redis.stop();
      await database.drop();
    }
  }, 60_000);
});
