package audit

import (
	"fmt"
	"strconv"

	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// picture is the way up through the tree: the root on top, the event below, and
// at each level the subtree beside it.
type picture struct {
	box, label string
	lines      []pictureLine
	nodes      []pictureNode
}

type pictureLine struct {
	points string
	way    bool // of the path, not to what is beside it
}

type pictureNode struct {
	kind                                       string // root, way, leaf or beside
	x, y, width, height, middle, first, second string
	name, hash                                 string
}

// Sizes in units of the picture.
const (
	pictureWidth = 560
	nodeWidth    = 172
	nodeHeight   = 40
	levelHeight  = 64
	pictureEdge  = 8
)

func drawing(v entryView) picture {
	levels := len(v.proof.steps)
	height := levels*levelHeight + nodeHeight + 2*pictureEdge
	p := picture{box: fmt.Sprintf("0 0 %d %d", pictureWidth, height),
		label: fmt.Sprintf("The path from entry %d up to the root of %d entries: %d hashes, listed after the check.", v.Index, v.proof.checkpoint.Size, levels)}
	center := pictureWidth / 2
	// Level i counts from the leaf; what stands higher has the smaller y.
	y := func(i int) int { return pictureEdge + (levels-i)*levelHeight }
	from, to := v.Index, v.Index+1
	for i := 0; i <= levels; i++ {
		kind, name, hash := "way", "", v.proof.leafHash
		if i > 0 {
			s := v.proof.steps[i-1]
			from, to, hash = min(from, s.from), max(to, s.to), s.hash
		}
		switch {
		case i == levels:
			kind, name = "root", "Root of "+ui.Count(v.proof.checkpoint.Size, "entry", "entries")
		case i == 0:
			kind, name = "leaf", "This event, entry "+ui.Number(v.Index)
		default:
			name = step{from: from, to: to}.span()
		}
		p.nodes = append(p.nodes, node(kind, center, y(i), name, brief(hash)))
		if i == levels {
			break
		}
		s := v.proof.steps[i]
		x := center + (pictureWidth-nodeWidth)/2 - pictureEdge
		if s.left {
			x = nodeWidth/2 + pictureEdge
		}
		p.nodes = append(p.nodes, node("beside", x, y(i), s.span(), brief(s.beside)))
		top, fork := y(i+1)+nodeHeight, y(i+1)+nodeHeight+(levelHeight-nodeHeight)/2
		p.lines = append(p.lines,
			pictureLine{points: fmt.Sprintf("%d,%d %d,%d %d,%d", center, fork, x, fork, x, y(i))},
			pictureLine{points: fmt.Sprintf("%d,%d %d,%d", center, top, center, y(i)), way: true})
	}
	return p
}

func node(kind string, middle, y int, name, hash string) pictureNode {
	return pictureNode{kind: kind, x: strconv.Itoa(middle - nodeWidth/2), y: strconv.Itoa(y), width: strconv.Itoa(nodeWidth), height: strconv.Itoa(nodeHeight),
		middle: strconv.Itoa(middle), first: strconv.Itoa(y + 17), second: strconv.Itoa(y + 32), name: name, hash: hash}
}
