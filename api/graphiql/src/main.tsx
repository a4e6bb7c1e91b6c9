import 'graphiql/style.css'
import './page.css'

import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import { parse } from 'graphql'
import { createClient } from 'graphql-ws'
import { createRoot } from 'react-dom/client'

import { FIRST_QUESTION } from './questions'

// One address for both: questions are posted to it, subscriptions are a WebSocket there.
const http = new URL('/graphql', window.location.href)
const socket = new URL(http)
socket.protocol = http.protocol === 'https:' ? 'wss:' : 'ws:'

const send = createGraphiQLFetcher({
  url: http.href,
  wsClient: createClient({ url: socket.href, lazy: true }),
})

// GraphiQL reads the question for itself a moment after it was typed; whoever runs it sooner would have a subscription
// posted, because it still goes by the question before.
const fetcher: Fetcher = (question, options) =>
  send(question, { ...options, documentAST: read(question.query) })

function read(question: string) {
  try {
    return parse(question)
  } catch {
    // The node says what is wrong with it.
    return undefined
  }
}

const root = document.getElementById('app')
if (root) {
  createRoot(root).render(<GraphiQL fetcher={fetcher} defaultQuery={FIRST_QUESTION} />)
}
