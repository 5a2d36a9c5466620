package main

import (
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
)

// lengthFlag is a flag for a length of time, with days: 90d, 24h, 15m.
type lengthFlag struct{ d *adminapi.Duration }

func (f lengthFlag) String() string {
	if f.d == nil || *f.d == 0 {
		return "0" // which pflag does not show as a default
	}
	return f.d.String()
}
func (lengthFlag) Type() string { return "duration" }
func (f lengthFlag) Set(s string) error {
	d, err := config.ParseDuration(s)
	*f.d = adminapi.Duration(d)
	return err
}

func lengthVar(f *pflag.FlagSet, d *adminapi.Duration, name, usage string) {
	f.Var(lengthFlag{d}, name, usage)
}

// labelsFlag collects key=value pairs; the flag may be repeated.
type labelsFlag struct{ labels *map[string]string }

func (f labelsFlag) String() string {
	if f.labels == nil {
		return ""
	}
	return device.FormatLabels(*f.labels)
}
func (labelsFlag) Type() string { return "key=value" }
func (f labelsFlag) Set(s string) error {
	more, err := device.ParseLabels(s)
	if err != nil {
		return err
	}
	if *f.labels == nil {
		*f.labels = map[string]string{}
	}
	for k, v := range more {
		(*f.labels)[k] = v
	}
	return nil
}

func labelsVar(f *pflag.FlagSet, labels *map[string]string, usage string) {
	f.Var(labelsFlag{labels}, "label", usage)
}

// stringVar is pflag's StringVar for named string types.
func stringVar[S ~string](f *pflag.FlagSet, p *S, name, usage string) {
	f.Var(textFlag[S]{p}, name, usage)
}

type textFlag[S ~string] struct{ p *S }

func (f textFlag[S]) String() string {
	if f.p == nil {
		return ""
	}
	return string(*f.p)
}
func (textFlag[S]) Type() string         { return "string" }
func (f textFlag[S]) Set(s string) error { *f.p = S(s); return nil }
