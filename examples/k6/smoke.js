// Twenty users list, create, change and delete todos for ten seconds. No request may fail.
//
// Environment: WEIR_URL (base URL), DURATION, USERS. Ends with exit code 99 when a request failed.

import http from 'k6/http';
import { check, sleep } from 'k6';

const TODOS = `${(__ENV.WEIR_URL || 'http://127.0.0.1:8080').replace(/\/+$/, '')}/api/v1/todos`;
const JSON_BODY = { 'Content-Type': 'application/json' };

export const options = {
  vus: Number(__ENV.USERS || 20),
  duration: __ENV.DURATION || '10s',
  thresholds: {
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
    // A run without requests must fail.
    http_reqs: ['count>0'],
  },
};

export default function () {
  const list = http.get(TODOS, { tags: { name: 'list todos' } });
  check(list, {
    'list: 200': (r) => r.status === 200,
    'list: todos': (r) => r.status === 200 && Array.isArray(r.json()),
    'list: names its replica': (r) => Boolean(r.headers['X-Replica']),
  });

  // One user in ten writes.
  if (__VU % 10 === 0) {
    write();
  }
  sleep(0.5);
}

function write() {
  const title = `smoke ${__VU}-${__ITER}`;
  const created = http.post(TODOS, JSON.stringify({ title }), { headers: JSON_BODY, tags: { name: 'create todo' } });
  if (!check(created, { 'create: 201': (r) => r.status === 201 })) {
    return;
  }
  const todo = `${TODOS}/${created.json('id')}`;
  const changed = http.put(todo, '{"completed":true}', { headers: JSON_BODY, tags: { name: 'change todo' } });
  check(changed, { 'change: 200 and done': (r) => r.status === 200 && r.json('completed') === true });
  const deleted = http.del(todo, null, { tags: { name: 'delete todo' } });
  check(deleted, { 'delete: 200': (r) => r.status === 200 });
}
