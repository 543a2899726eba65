// `top` on a terminal: waits for a reading, a key, a signal or another size, and draws. It decides nothing: what a
// screen shows is TopScreen's, what the figures are is TopModel's.

import Glibc
import Operations
import ServiceKit

/// The live view. Owned by one thread.
struct TopLive {
    private let feed: TopFeed
    private let signals: SignalWaiter
    private let bars = Terminal.isUTF8 ? Sparkline.blocks : Sparkline.plain
    private let hasColour = Terminal.standardOutput.allowsColour
    private var model = TopModel()
    private var view = TopView()

    init(_ feed: TopFeed, _ signals: SignalWaiter) {
        self.feed = feed
        self.signals = signals
    }

    /// Until the person, or a signal, ends it. The terminal is as before then.
    ///
    /// - Throws: 74 if there is no terminal, 1.
    mutating func run() throws(Failure) {
        let screen = try FullScreen(input: STDIN_FILENO, output: STDOUT_FILENO)
        defer { screen.leave() }
        draw(screen)
        while true {
            switch try Waiting.wait(for: [signals.descriptor, screen.input, feed.readings.descriptor]) {
            case 0: if let event = try signals.wait(timeoutMilliseconds: 0), event.kind != .resize { return }
            case 1: if !handle(screen.keys()) { return }
            default: if let reading = feed.readings.take() { model.take(reading) }
            }
            draw(screen)
        }
    }

    /// False to end.
    private mutating func handle(_ keys: [PressedKey]) -> Bool {
        for key in keys {
            switch key {
            case .interrupt, .closed, .character("q"), .character("Q"): return false
            case .character("s"): view.order = view.order == .mostBehind ? .byNumber : .mostBehind
            case .up, .character("k"): view.scroll -= 1
            case .down, .character("j"): view.scroll += 1
            case .pageUp: view.scroll -= view.pageRows
            case .pageDown: view.scroll += view.pageRows
            case .home: view.scroll = 0
            case .end: view.scroll = model.partitions.count
            case .character: break
            }
        }
        return true
    }

    private mutating func draw(_ screen: FullScreen) {
        let size = screen.size
        let lines = TopScreen(width: size.width, height: size.height, bars: bars).lines(model, &view)
        screen.show(lines.map { hasColour ? $0.coloured : $0.shown })
    }
}

extension TopLine {
    /// Names of hosts and consumers are what others have written into Redis.
    fileprivate var shown: String { TerminalText.shown(text) }

    /// With the escape sequences of its kind.
    fileprivate var coloured: String {
        let code =
            switch kind {
            case .plain: ""
            case .title: "1"
            case .heading: "7"
            case .problem: "31"
            case .keys: "2"
            }
        return code.isEmpty || text.isEmpty ? shown : "\u{1B}[\(code)m\(shown)\u{1B}[0m"
    }
}
