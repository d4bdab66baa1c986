import { Test } from '@nestjs/testing';

import { createTestDatabase } from '../../../test/support/database.js';
import { prepareDatabases } from '../../01-basic/start/prepare-databases.js';
import { AppModule } from '../app.module.js';
import { sendMix } from '../mix/send-mix.js';

describe('sample 06-inspector', () => {
  it('answers all requests of the mix as it says, and lists them', async () => {
    const [sample, audit] = await Promise.all([createTestDatabase(), createTestDatabase()]);
    const testingModule = await Test.createTestingModule({
      imports: [AppModule.register({ databaseUrl: sample.url, auditUrl: audit.url })],
    }).compile();
    const app = testingModule.createNestApplication({ logger: false, forceCloseConnections: true });
    try {
      await prepareDatabases(app);
      await app.listen(0, '127.0.0.1');
      const url = await app.getUrl();
      await sendMix(url, { crowd: 2 });
      const { body } = await fetch(`${url}/__db/stream`);
      const reader = body!.pipeThrough(new TextDecoderStream()).getReader();
      const { value } = await reader.read();
      await reader.cancel();
      for (const title of ['GET /accounts', 'POST /transfers', 'GET /habits/n-plus-one']) {
        expect(value).toContain(`"title":"${title}"`);
      }
      expect(value!.match(/"findings":1/g)).toHaveLength(4);
    } finally {
      await app.close();
      await Promise.all([sample.drop(), audit.drop()]);
    }
  });
});
