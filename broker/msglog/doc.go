// Package msglog is the durable side of the broker: a log of messages, the
// retained messages and the rows of sessions, in three NATS JetStream streams
// (HF_LOG, HF_RETAINED, HF_SESSIONS), and the way in which nodes hear each
// other's messages at once.
//
// It promises that a message whose done was called without an error is in the
// log, survives a kill of this process (and, clustered, the loss of a minority
// of the cluster's nodes), and is found by every [Cursor] that matches it until
// retention removes it; that done is called exactly once per Append and in the
// order of the calls; that live messages come on one goroutine; and that memory
// for what is under way is bounded. Clustered, what is live may be lost with a
// connection or a leader: whoever must not miss it reads the log again when told
// so (see [Log.Live]). A message without a dedupe id whose acknowledgement was
// lost on the way is stored again: at least once, as QoS 1 allows.
//
// It trusts the NATS account it is given: whoever may publish on in., out., ret.
// and ses. there can forge messages and session rows, and whoever can write the
// store folder can change them. Bytes from the bus are parsed with bounds and
// refused when they are not what AppendTo writes, but not authenticated here.
package msglog
