# culvert: `make run` and `make test` need Go and make, nothing else.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo v0.1.0)
GO      ?= go
PROTOC_GO   = google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_GRPC = google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

export CGO_ENABLED ?= 0
TESTFLAGS ?=

.PHONY: help run build test check bench docs fuzz proto

help: ## show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

run: build ## serve configs/quickstart.yaml: proxy at 127.0.0.1:7890, controller at :9090
	mkdir -p bin/home
	bin/culvert -d bin/home -f configs/quickstart.yaml

build: ## build bin/culvert
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/culvert .

test: ## run all tests as whoever you are; what is missing is skipped with a reason
	$(GO) test $(TESTFLAGS) ./...

check: ## format, vet, lint, layers, tests with the race detector, short fuzzing
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	CGO_ENABLED=1 $(GO) test $(TESTFLAGS) -race -short ./...
	$(MAKE) fuzz FUZZTIME=500x

FUZZTIME ?= 30s
fuzz: ## run each fuzz target for FUZZTIME, a duration or a count such as 500x
	@set -e; for pkg in $$($(GO) list ./...); do \
		dir=.$${pkg#github.com/culvert-proxy/culvert}; \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go 2>/dev/null | cut -c6-); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; \
		done; \
	done

bench: ## the budgets: culvert beside a bare relay, then the micro-benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./framework/... ./plugins/... ./api/...
	$(GO) run ./tests/bench

docs: build ## write bin/plugins.md, all plugin types, and bin/schema.json, the keys of the configuration
	$(GO) run ./tests/docs > bin/plugins.md
	bin/culvert schema > bin/schema.json

PROTO = framework/wire/proto/v1
proto: ## generate framework/wire/proto/v1 again; needs protoc (Debian: protobuf-compiler)
	GOBIN=$(CURDIR)/bin $(GO) install $(PROTOC_GO)
	GOBIN=$(CURDIR)/bin $(GO) install $(PROTOC_GRPC)
	PATH="$(CURDIR)/bin:$$PATH" protoc -I $(PROTO) --go_out=. --go_opt=module=github.com/culvert-proxy/culvert \
		--go-grpc_out=. --go-grpc_opt=module=github.com/culvert-proxy/culvert plugin.proto
