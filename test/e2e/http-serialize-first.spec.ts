import { Readable } from 'node:stream';

import { Controller, Get, StreamableFile } from '@nestjs/common';
import type { EntityManager } from '@mikro-orm/postgresql';
import { InjectSession } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';
import type { AdapterName } from '../support/test-app.js';
import { startWorld } from '../support/test-world.js';
import { useWorld } from '../support/use-world.js';

@Controller()
class SerializedController {
  constructor(@InjectSession() private readonly session: EntityManager) {}

  @Get('bigint')
  async bigint(): Promise<object> {
    return { note: await this.#write('bigint'), size: 1n };
  }

  @Get('cycle')
  async cycle(): Promise<object> {
    const note = await this.#write('cycle');
    return Object.assign(note, { self: note });
  }

  @Get('plain')
  plain(): Promise<object> {
    return this.#write('plain');
  }

  @Get('file')
  async file(): Promise<StreamableFile> {
    await this.#write('file');
    return new StreamableFile(Readable.from(['file']));
  }

  @Get('generator')
  async generator(): Promise<AsyncIterable<string>> {
    await this.#write('generator');
    return (async function* () {
      yield 'generator';
    })();
  }

  async #write(text: string): Promise<object> {
    const note = new Note(text);
    await this.session.persist(note).flush();
    return { text: note.text };
  }
}

describe.each<AdapterName>(['express', 'fastify'])('bodies over %s', (adapter) => {
  describe.each([true, false])('serializeFirst: %s', (serializeFirst) => {
    const shared = useWorld(() =>
      startWorld({}, { adapter, serializeFirst, controllers: [SerializedController] }),
    );

    it.each(['bigint', 'cycle'])('S1: /%s, which cannot be serialized, fails', async (path) => {
      expect((await shared.world.fetch(`/${path}`)).status).toBe(500);
      expect(await shared.world.savedTexts()).toEqual(serializeFirst ? [] : [path]);
    });

    it.each(['plain', 'file', 'generator'])('S1: /%s is sent as ever', async (path) => {
      const answer = await shared.world.fetch(`/${path}`);
      expect([answer.status, await answer.text()]).toEqual([
        200,
        path === 'plain' ? '{"text":"plain"}' : path,
      ]);
      expect(await shared.world.savedTexts()).toEqual([path]);
    });
  });
});
