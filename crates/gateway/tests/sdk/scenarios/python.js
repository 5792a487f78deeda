'use strict';
// The official SDK for Python: a shorter round of the same subjects. The stories are in python/drive.py; here is what each is given.

const { scenario } = require('../scenarios.js');

const names = {
  closed: 'closed:day', nowhere: 'nowhere:day', private: '$news:day', lobby: 'lobby:main', chat: 'chat:room', stream: 'stream:prices',
  delta: 'delta:prices', news: 'news:day',
};

function given(t) {
  const user = t.user('alice');
  return {
    user,
    token: t.token(user, { info: { name: 'Alice' } }),
    expired: t.token(user, { exp: t.now() - 10 }),
    forged: t.token(user, {}, 'another key'),
    with_channel: t.token(user, { channels: [t.channel(names.news)] }),
    ...Object.fromEntries(Object.entries(names).map(([key, name]) => [key, t.channel(name)])),
  };
}

const python = (story, options = {}) =>
  scenario(`python-${story.replaceAll('_', '-')}`, { ...options, needs: 'PYTHON' }, (t) => t.python(story, given(t)));

module.exports = [
  python('connect'),
  python('connect_with_token'),
  python('connect_expired_token_refreshed'),
  python('connect_invalid_token'),
  python('subscribe_refused'),
  python('subscribe_and_publish', { freeOrder: true }),
  python('presence'),
  python('join_and_leave'),
  python('history'),
  python('recover'),
  python('delta'),
  python('rpc'),
  python('server_side'),
  python('disconnect_and_reconnect'),
  python('ping_and_pong', { server: 'quick', pings: true }),
];
