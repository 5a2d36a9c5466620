// Package examples carries the manifests of example fleets as data.
//
// It promises that what it returns is exactly what lies in the folders beside
// it, compiled in. It trusts nothing and decides nothing. Whoever can write
// these folders before a build chooses what the demo creates, and nothing else.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed riverside-water
var files embed.FS

// RiversideWater is the fleet of a small water utility: zones.json, types.json
// and devices.csv; its README.md says what they mean.
func RiversideWater() fs.FS {
	sub, err := fs.Sub(files, "riverside-water")
	if err != nil {
		panic(err) // the name is a constant
	}
	return sub
}
