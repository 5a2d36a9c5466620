package server

import (
	"context"
	"strconv"

	"github.com/holdfast-iot/holdfast/policy/reach"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// mapLimits bound a map to what a page can show and an answer can carry.
var mapLimits = reach.Limits{Edges: 2000, Ways: 4}

// ZoneMap implements adminapi.Watch: the map of the policy that decides on this
// node. Maps of different views are remembered apart.
func (s *Server) ZoneMap(ctx context.Context, view string, fleet func(context.Context) (reach.Fleet, error)) (*adminapi.ZoneMap, error) {
	active := s.activePolicy()
	return s.watching.maps.get(ctx, strconv.FormatInt(active.Version, 10)+" "+view, s.now, rememberMap, func(ctx context.Context) (*adminapi.ZoneMap, error) {
		s.watching.drawing.Lock()
		defer s.watching.drawing.Unlock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := fleet(ctx)
		if err != nil {
			return nil, err
		}
		return &adminapi.ZoneMap{Policy: active.Version, Time: s.now().UTC(), Graph: *reach.Build(active.Manifests, f, mapLimits)}, nil
	})
}
