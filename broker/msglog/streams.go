package msglog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	logStream      = "HF_LOG"
	retainedStream = "HF_RETAINED"
	sessionStream  = "HF_SESSIONS"
)

// dedupeWindow is how long a dedupe id is remembered. Only messages with one
// cost memory.
const dedupeWindow = 10 * time.Minute

func (l *Log) createStreams(ctx context.Context) error {
	one := func(name, prefix, what string, most int64) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Description: what, Subjects: []string{prefix + ">"},
			Storage: jetstream.FileStorage, Replicas: l.config.Replicas,
			MaxMsgsPerSubject: 1, MaxBytes: most, Discard: jetstream.DiscardNew,
			AllowDirect: true, AllowMsgTTL: true, Duplicates: 2 * time.Minute,
		}
	}
	log := jetstream.StreamConfig{
		Name: logStream, Description: "MQTT messages at QoS 1 and 2", Subjects: []string{inPrefix + ">"},
		Storage: jetstream.FileStorage, Replicas: l.config.Replicas, Discard: jetstream.DiscardOld,
		MaxAge: l.config.MaxAge, MaxBytes: l.config.MaxBytes,
		AllowDirect: true, Duplicates: min(dedupeWindow, l.config.MaxAge),
	}
	if l.config.Clustered {
		log.RePublish = &jetstream.RePublish{Source: inPrefix + ">", Destination: outPrefix + ">"}
	}
	for _, c := range []jetstream.StreamConfig{
		log,
		one(retainedStream, retainedPrefix, "MQTT retained messages", l.config.MaxRetained),
		one(sessionStream, sessionPrefix, "MQTT sessions", l.config.MaxSessions),
	} {
		if err := l.createStream(ctx, c); err != nil {
			return fmt.Errorf("creating the stream %s: %w", c.Name, err)
		}
	}
	return nil
}

// createStream creates a stream or updates it. What cannot be changed, or would
// mean that the stream is someone else's, is an error.
func (l *Log) createStream(ctx context.Context, want jetstream.StreamConfig) error {
	s, err := l.js.Stream(ctx, want.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if _, err = l.js.CreateStream(ctx, want); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return l.createStream(ctx, want) // another node was quicker, with other limits
		}
		return err
	case err != nil:
		return err
	}
	have := s.CachedInfo().Config
	switch {
	case !slices.Equal(have.Subjects, want.Subjects):
		return fmt.Errorf("it exists and stores %q, not %q: it was not made by this program", have.Subjects, want.Subjects)
	case have.Storage != want.Storage:
		return errors.New("it exists and is not stored in files")
	case have.Retention != jetstream.LimitsPolicy || have.Mirror != nil || len(have.Sources) > 0 || have.SubjectTransform != nil || have.Sealed || have.NoAck:
		return errors.New("it exists with another retention, or as a mirror, transformed, sealed or without acknowledgements: it was not made by this program")
	}
	_, err = l.js.UpdateStream(ctx, want)
	return err
}
