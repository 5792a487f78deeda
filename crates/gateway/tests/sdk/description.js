'use strict';
// The description of the client endpoints, docs/asyncapi.yaml, as something that messages can be held against.
//
// Knows AsyncAPI and JSON Schema, and no protocol: which messages there are, who says them and what is in them stands in the file. Keeps
// count of what has been seen of it, so that what nobody ever says is found too.

const fs = require('node:fs');
const path = require('node:path');
const Ajv = require('ajv');
const yaml = require('yaml');

const file = path.join(__dirname, '../../docs/asyncapi.yaml');
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

// `strict` finds misspelt keywords; what begins with x- is AsyncAPI's way to say something of one's own.
const forSchemas = { strict: true, strictTypes: false, strictRequired: false, allErrors: true, formats: { uuid } };
const ownWords = ['components', 'x-temporary', 'x-reconnect', 'x-resubscribe'];

/** Whether a message of the description is one in JSON. */
const isJson = (message) => !message.contentType;

class Description {
  constructor(document = yaml.parse(fs.readFileSync(file, 'utf8'))) {
    this.document = document;
    this.seen = new Set();
    this.ajv = new Ajv(forSchemas);
    this.ajv.addVocabulary(ownWords);
    this.ajv.addSchema({ components: document.components, $id: 'description' }, undefined, undefined, false);
    this.checks = new Map();
  }

  /** What a `$ref` inside of the document leads to, however many steps it takes. */
  at(reference) {
    const found = reference.slice(2).split('/').reduce((part, name) => part?.[name], this.document);
    if (found === undefined) throw new Error(`nothing is at ${reference}`);
    return found.$ref ? this.at(found.$ref) : found;
  }

  follow(part) {
    return part.$ref ? this.at(part.$ref) : part;
  }

  // Where a message of a channel is in the components.
  nameOf(reference) {
    const [, , , , name] = reference.$ref.split('/');
    const channel = this.follow({ $ref: reference.$ref.split('/').slice(0, 3).join('/') });
    return channel.messages[name].$ref.split('/').pop();
  }

  /** The names of the messages that `client` or `server` says in a channel, of those in JSON. */
  messages(channel, from) {
    const names = new Set();
    for (const { action, channel: its, messages, reply } of Object.values(this.document.operations)) {
      if (its.$ref !== `#/channels/${channel}`) continue;
      const said = (action === 'receive') === (from === 'client') ? messages : reply?.messages;
      for (const message of said ?? []) names.add(this.nameOf(message));
    }
    return [...names].filter((name) => isJson(this.document.components.messages[name]));
  }

  /** The statuses that a request in a channel may be answered with. */
  statuses(channel) {
    const { messages } = this.at(`#/channels/${channel}`);
    return Object.values(messages).map((message) => this.follow(message).bindings?.http?.statusCode).filter(Boolean);
  }

  check(where, value) {
    if (!this.checks.has(where)) this.checks.set(where, this.ajv.compile({ $ref: `description${where}` }));
    const check = this.checks.get(where);
    return check(value) ? [] : check.errors.map(({ instancePath, message, params }) => `${instancePath || 'it'} ${message} ${JSON.stringify(params)}`);
  }

  // Which message it is, by the member that only that one has.
  kindOf(value, names) {
    const member = (object) => Object.keys(object ?? {}).find((name) => name !== 'id' && name !== 'channel');
    const shape = (one) => (member(one) === 'push' ? `push ${member(one.push)}` : member(one));
    const described = (name) => {
      const { properties = {} } = this.follow(this.document.components.messages[name].payload);
      return shape(properties.push ? { push: this.follow(properties.push).properties } : properties);
    };
    return names.find((name) => described(name) === shape(value));
  }

  /** What is wrong with a message, as lines; none if it is as described. */
  complaints(channel, from, message) {
    const names = this.messages(channel, from);
    const fitting = names.filter((name) => this.check(`#/components/messages/${name}/payload`, message).length === 0);
    if (fitting.length > 1) return [`it is ${fitting.join(' and ')}`];
    if (fitting.length === 1) {
      this.see(`messages/${fitting[0]}`, this.document.components.messages[fitting[0]].payload, message);
      return [];
    }
    const kind = this.kindOf(message, names);
    return kind ? this.check(`#/components/messages/${kind}/payload`, message).map((line) => `${kind}: ${line}`) : [`the ${from} says nothing like it`];
  }

  /** What is wrong with a number and its text, of one of the tables; none if they belong together. */
  complaintsAboutCode(table, code, text) {
    const all = this.document.components.schemas[table].anyOf;
    // An application may use its own words with a number of ours; who looks for mistakes here would rather not let it.
    const ours = all.filter((entry) => entry.const === code);
    const entries = ours.length ? ours.filter(({ title }) => title === text) : all.filter(({ minimum, maximum }) => code >= minimum && code <= maximum);
    for (const { const: number = 'application', title = '' } of entries) this.seen.add(`${table} ${number} ${title}`.trim());
    return entries.length ? [] : [`${table} does not have ${code} ${text}`];
  }

  // Marks what of the schemas a value is an example of.
  see(name, schema, value) {
    this.seen.add(name);
    if (schema.$ref) {
      const to = schema.$ref.split('/').pop();
      return this.see(to, this.document.components.schemas[to], value);
    }
    for (const choice of schema.anyOf ?? []) {
      if (choice.$ref && this.check(choice.$ref, value).length === 0) this.see('', choice, value);
    }
    if (Array.isArray(value) && schema.items) value.forEach((item) => this.see('', schema.items, item));
    if (value === null || typeof value !== 'object') return undefined;
    for (const [member, item] of Object.entries(value)) {
      if (schema.properties?.[member]) this.see(`${name}.${member}`, schema.properties[member], item);
      else if (typeof schema.additionalProperties === 'object') this.see('', schema.additionalProperties, item);
    }
    return undefined;
  }

  /** Everything there is to be seen: messages, schemas, their members, and the numbers. */
  everything() {
    const { messages, schemas } = this.document.components;
    const parts = [];
    for (const [name, message] of Object.entries(messages)) if (isJson(message)) parts.push(`messages/${name}`);
    for (const [name, { properties = {}, anyOf = [] }] of Object.entries(schemas)) {
      if (name.endsWith('Code')) {
        for (const { const: number = 'application', title = '' } of anyOf) parts.push(`${name} ${number} ${title}`.trim());
      } else {
        parts.push(name, ...Object.keys(properties).map((member) => `${name}.${member}`));
      }
    }
    return parts;
  }
}

module.exports = { Description, isJson };
