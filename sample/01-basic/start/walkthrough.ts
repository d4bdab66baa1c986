/**
 * What to try, as lines for a shell: each comment says what to look for.
 *
 * @param url of the running sample
 */
export function walkthrough(url: string): string {
  // The status follows the body, on a line of its own.
  const curl = (path: string, options = ''): string =>
    String.raw`curl -s -w '\n%{http_code}\n' ${options}${url}${path}`;
  const post = (path: string, body: object, headers = ''): string =>
    curl(path, `${headers}-H 'content-type: application/json' -d '${JSON.stringify(body)}' `);
  const ada = "-H 'x-account-key: ada-key' ";

  return `
The sample listens on ${url} - try these in another terminal, in this order. Ctrl-C ends it.

# 200: the accounts. Remember the balance of account 1
${curl('/accounts')}

# 201: sent. The transfer is in one database and its audit entry in the other
${post('/transfers', { to: 2, amountCents: 250 }, ada)}

# 422: too little money. The debit and the transfer were in the database already: rolled back
${post('/transfers', { to: 2, amountCents: 99_999_99 }, ada)}

# 200: the balance is down by 250 only. There is one transfer more and none of 9999999
${curl('/accounts/1/statement', ada)}

# 401: a wrong PIN, and its trace is committed all the same. The next two lines show it
${post('/sessions', { accountId: 1, pin: '0000' })}

# 200: failedLogins is up by 1
${curl('/accounts/1')}

# 200: login.failed on top, then one transfer.sent of 250, and nothing of the 422
${curl('/audit')}

# 200: nothing is sent to a database
${curl('/health')}
`;
}
