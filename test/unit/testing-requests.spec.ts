import { testRequests, type TestCall } from '../../lib/testing/test-requests.js';

/** A request of supertest that notes what it is given. */
class NotedCall {
  readonly fields: object[] = [];

  constructor(
    readonly server: unknown,
    readonly line: string,
  ) {}

  set(fields: object): this {
    this.fields.push(fields);
    return this;
  }
}

type Done = (error: Error | null, answer: unknown) => void;

const VERBS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options'] as const;

/** Stands for supertest, which is no dependency of this repository. */
const supertest = (server: unknown): never =>
  Object.fromEntries(
    VERBS.map((verb) => [verb, (path: string) => new NotedCall(server, `${verb} ${path}`)]),
  ) as never;

describe('db.request()', () => {
  const owner = {
    headers: () => ({ 'x-db-context-test': 'the token' }),
    run: <T>(work: () => T): T => work(),
  };
  const server = { name: 'the server' };
  const app = { getHttpServer: (): unknown => server };

  it('sends by supertest to the server of the application, with the header of the test', () => {
    const calls = VERBS.map((verb) => testRequests(app, owner, () => supertest)[verb]('/notes'));
    expect(calls as readonly (TestCall | NotedCall)[]).toEqual(
      VERBS.map((verb) =>
        expect.objectContaining({
          server,
          line: `${verb} /notes`,
          fields: [{ 'x-db-context-test': 'the token' }],
        }),
      ),
    );
  });

  it('takes the server itself as well', () => {
    const call: unknown = testRequests(server, owner, () => supertest).get('/');
    expect(call).toMatchObject({ server });
  });

  it('a failed call says why the work of its request was refused', () => {
    const answer = { headers: { 'x-db-context-refused': 'OUTSIDE_TEST: as it says' } };
    const endedWith = (error: Error | null, got: unknown): Error | null => {
      const call = { set: () => call, end: (done: Done) => done(error, got) };
      const agent = () => () => ({ get: () => call }) as never;
      let ended: Error | null = null;
      const sent = testRequests(app, owner, agent).get('/notes') as unknown as typeof call;
      sent.end((each) => {
        ended = each;
      });
      return ended;
    };
    const ofStatus = (): Error => new Error('expected 201 "Created", got 500');
    const refused = endedWith(ofStatus(), answer);
    const message = 'expected 201 "Created", got 500\nRefused was OUTSIDE_TEST: as it says';
    expect(refused).toMatchObject({ message });
    // Runners print that.
    expect(refused?.stack).toContain(message);
    expect(endedWith(ofStatus(), { headers: {} })?.message).toBe(ofStatus().message);
    expect(endedWith(ofStatus(), undefined)?.message).toBe(ofStatus().message);
    expect(endedWith(null, answer)).toBeNull();
  });

  it('has inject() only where the application has it, and calls it as part of the test', () => {
    const calls: unknown[] = [];
    const fastify = {
      inject(...args: readonly unknown[]): string {
        calls.push(this === fastify, args);
        return 'answer';
      },
    };
    const within = {
      ...owner,
      run: <T>(work: () => T): T => {
        calls.push('in the test');
        return work();
      },
    };
    expect(testRequests(fastify, within).inject('/notes')).toBe('answer');
    expect(calls).toEqual(['in the test', true, ['/notes']]);
    expect(testRequests(app, within)).not.toHaveProperty('inject');
  });

  it('says what is missing without supertest', () => {
    expect(() => testRequests(app, owner).get('/')).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTIONS',
        message: expect.stringContaining('fetch(url, { headers: db.headers() })'),
      }),
    );
  });
});
