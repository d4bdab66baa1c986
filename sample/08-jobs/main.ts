import { isRedisInstalled, LocalRedis } from '../starter/local-redis.js';
import { startLocalPostgres } from '../starter/local-postgres.js';
import { play } from './play/play.js';

if (!isRedisInstalled()) {
  console.error('This sample needs a redis-server in the PATH: apt-get install redis-server');
  process.exit(1);
}
// The servers end with this process, also with Ctrl-C.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
console.log('Starting a PostgreSQL and a Redis for this sample ...');
const postgres = startLocalPostgres(['sample']);
const redis = await LocalRedis.start();
try {
  const { sample: databaseUrl } = await postgres.urls;
  const { failed } = await play({
    databaseUrl,
    redisPort: redis.port,
    print: (line) => console.log(line),
  });
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  await redis.stop();
  await postgres.stop();
}
