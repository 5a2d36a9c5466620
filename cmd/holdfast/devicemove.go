package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const (
	maxIDFile = 16 << 20 // bytes
	maxBulk   = 1000     // devices in one request
)

var outcomeCols = []col[adminapi.BulkOutcome]{
	{title: "ID", cell: func(o adminapi.BulkOutcome) string { return string(o.ID) }},
	{title: "STATE", cell: func(o adminapi.BulkOutcome) string { return string(o.State) }},
	{title: "ERROR", cell: func(o adminapi.BulkOutcome) string { return o.Error }},
}

// deviceMove is a command for one of the moves an operator may order; warning
// says what cannot be undone, with %s for the device, or is empty.
func deviceMove(a *app, move device.Move, short, warning string) *cobra.Command {
	var reason, file string
	cmd := &cobra.Command{Use: string(move) + " ID...", Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := a.deviceIDs(args, file)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if warning != "" {
				what := "device " + string(ids[0])
				if len(ids) > 1 {
					what = fmt.Sprintf("each of %d devices", len(ids))
				}
				if err := a.confirm(warning, what); err != nil {
					return err
				}
			}
			if len(ids) > 1 && move != device.Retire {
				return a.moveMany(cmd.Context(), c, ids, move, reason)
			}
			return a.moveEach(cmd.Context(), c, ids, move, reason)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", reasonForSecond)
	cmd.Flags().StringVar(&file, "file", "", "file with ids, one a line (- for standard input); lines that begin with # are left out")
	return cmd
}

// deviceIDs are those of the command line and of the file, each once.
func (a *app) deviceIDs(args []string, file string) (ids []device.ID, err error) {
	seen := map[device.ID]bool{}
	add := func(id device.ID) {
		if !seen[id] {
			seen[id], ids = true, append(ids, id)
		}
	}
	for _, id := range args {
		add(device.ID(id))
	}
	if file != "" {
		text, err := a.input(file, maxIDFile)
		if err != nil {
			return nil, fmt.Errorf("reading the ids: %w", err)
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for n := 1; lines.Scan(); n++ {
			line := strings.TrimSpace(lines.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			if strings.ContainsAny(line, " \t,;\"") || len(line) > 256 {
				return nil, &usageError{fmt.Sprintf("line %d of %s is not one id", n, file), "write one id on each line; `holdfast device export` and cut make such a file"}
			}
			add(device.ID(line))
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("reading the ids: %w", err)
		}
	}
	if len(ids) == 0 {
		return nil, &usageError{"no device is named", "give ids, or a file with them as --file"}
	}
	return ids, nil
}

// moveEach asks for each device by itself, and for a second person where one is
// needed; a refusal ends it.
func (a *app) moveEach(ctx context.Context, c *connection, ids []device.ID, move device.Move, reason string) error {
	var moved []device.Device
	var held holding
	for _, id := range ids {
		d, err := c.ChangeDevice(ctx, id, move, reason)
		if err := held.take(err); err != nil {
			a.toldSoFar(moved)
			return err
		}
		if err == nil {
			moved = append(moved, d)
		}
	}
	if len(moved) > 0 || len(held.waiting) == 0 {
		if err := printList(a, moved, deviceCols); err != nil {
			return err
		}
	}
	return held.err()
}

// moveMany sends the devices in as few requests as there can be. One that cannot
// be changed stops no other.
func (a *app) moveMany(ctx context.Context, c *connection, ids []device.ID, move device.Move, reason string) error {
	var done []adminapi.BulkOutcome
	var held holding
	for chunk := range slices.Chunk(ids, maxBulk) {
		result, err := c.ChangeDevices(ctx, chunk, move, reason)
		if err := held.take(err); err != nil {
			return errors.Join(err, a.soFar(len(done), func() error { return printList(a, done, outcomeCols) }))
		}
		done = append(done, result.Items...)
	}
	if len(done) > 0 {
		if err := printList(a, done, outcomeCols); err != nil {
			return err
		}
	}
	failed := 0
	for _, o := range done {
		if o.Error != "" {
			failed++
		}
	}
	if failed > 0 && len(held.waiting) == 0 {
		return fmt.Errorf("%d of %d devices were not changed: see above", failed, len(done))
	}
	return held.err()
}

// toldSoFar lists what was done before a failure in the middle.
func (a *app) toldSoFar(moved []device.Device) {
	if len(moved) > 0 {
		_ = printList(a, moved, deviceCols)
	}
}
