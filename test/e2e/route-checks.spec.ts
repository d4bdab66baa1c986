import { Controller, Get, Injectable, Module, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { DbContextModule, DbTransaction, UnknownConnectionError } from 'nestjs-db-context';

import { noteConnection } from '../support/test-app.js';

// Nothing here connects.
const URL_OF_NOTHING = 'postgres://postgres@127.0.0.1:1/nothing';

@Controller('method')
class OnMethod {
  @Get('known')
  @DbTransaction({ connection: 'feature', readOnly: true })
  @DbTransaction({ readOnly: true })
  known(): void {}

  @Get()
  @DbTransaction({ connection: 'nope', readOnly: true })
  route(): void {}
}

@Controller('inherited')
class OnInherited extends OnMethod {}

@DbTransaction({ connection: 'nope' })
@Controller('class')
class OnClass {}

/** A provider, as gateways and resolvers are. */
@Injectable()
class OnProvider {
  @DbTransaction({ connection: 'nope' })
  handle(): void {}
}

@DbTransaction({ connection: 'feature' })
@Controller('known')
class Known {
  @DbTransaction({ isolationLevel: 'serializable' })
  @Get()
  route(): void {}

  get property(): string {
    throw new Error('no check may call a getter');
  }
}

@Module({
  imports: [DbContextModule.forFeature(noteConnection(URL_OF_NOTHING, { name: 'feature' }))],
})
class FeatureModule {}

async function boot(controllers: Type[], providers: Type[] = []): Promise<void> {
  // Further in than the root, and imported after it.
  @Module({ controllers, providers: [...providers, { provide: 'value', useValue: 1 }] })
  class RoutesModule {}

  const testingModule = await Test.createTestingModule({
    imports: [
      DbContextModule.forRoot({ connections: [noteConnection(URL_OF_NOTHING)] }),
      RoutesModule,
      FeatureModule,
    ],
    providers: [{ provide: 'factory', useFactory: () => 1 }],
  }).compile();
  const app = testingModule.createNestApplication({ logger: false });
  try {
    await app.init();
  } finally {
    await app.close();
  }
}

describe('@DbTransaction() for a connection that nobody declares', () => {
  it.each<[string, Type[], Type[]]>([
    ['OnMethod.route', [OnMethod], []],
    ['OnInherited.route', [OnInherited], []],
    ['OnClass', [OnClass], []],
    ['OnProvider.handle', [], [OnProvider]],
  ])('C7: fails the boot: %s', async (place, controllers, providers) => {
    const error = await boot(controllers, providers).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnknownConnectionError);
    expect(error).toMatchObject({
      code: 'UNKNOWN_CONNECTION',
      connectionName: 'nope',
      knownNames: ['default', 'feature'],
      message: expect.stringContaining(
        `@DbTransaction() on ${place}: There is no connection "nope"`,
      ),
    });
  });

  it('C7: what forFeature() declares in any module is known', async () => {
    await expect(boot([Known])).resolves.toBeUndefined();
  });
});
