    // Sends one frame alone, then all frames without pauses, then all with pauses on both sides; checks each beat, the
    // handshake, and the latency of the first one. Reads inputs.hex and outputs.hex in the directory +vectors=DIR,
    // "vectors" by default.

    localparam integer PATIENCE = 20000 + 100 * LATENCY; // cycles without a beat after which the design has stopped

    logic clk = 0, rst = 1;
    logic s_axis_tvalid = 0, s_axis_tlast = 0, m_axis_tready = 0;
    logic [IN_BITS-1:0] s_axis_tdata = '0;
    wire s_axis_tready, m_axis_tvalid, m_axis_tlast, frame_error;
    wire [OUT_BITS-1:0] m_axis_tdata;

    logic [IN_BITS-1:0] inputs [0:EVENTS*IN_BEATS-1];
    logic [OUT_BITS-1:0] outputs [0:EVENTS*OUT_BEATS-1];
    logic waiting = 0, held_last, stalls = 0;
    logic [OUT_BITS-1:0] held;
    integer cycle = 0, idle = 0, taken = 0, given = 0, expected = 0, first = 0, entered = 0, left = 0, errors = 0;
    logic [15:0] noise = 16'hACE1;
    string vectors;

    always #(HALF_PERIOD_NS) clk = ~clk;

    task complain(input string what);
        errors = errors + 1;
        if (errors <= 10) $display("cycle %0d, output beat %0d: %s", cycle, given - first, what);
    endtask

    task need_file(input string name);
        integer file;
        file = $fopen(name, "r");
        if (file == 0) $fatal(1, "FAIL: %s cannot be read", name);
        $fclose(file);
    endtask

    // Inputs change at the falling edge; what is sampled at the rising edge is what stood there before it.
    always @(posedge clk) begin
        cycle <= cycle + 1;
        noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
        if (!rst) begin
            idle = idle + 1;
            if (s_axis_tvalid && s_axis_tready) begin
                if (taken == 0) entered = cycle;
                taken = taken + 1;
                idle = 0;
            end
            if (waiting && (m_axis_tvalid !== 1'b1 || m_axis_tdata !== held || m_axis_tlast !== held_last))
                complain("withdrawn or changed before it was taken");
            waiting = m_axis_tvalid === 1'b1 && !m_axis_tready;
            held = m_axis_tdata;
            held_last = m_axis_tlast;
            if (m_axis_tvalid !== 1'b0 && m_axis_tready) begin
                idle = 0;
                if (m_axis_tvalid !== 1'b1) complain("m_axis_tvalid is undefined");
                if (given >= expected) complain("too many");
                else begin
                    if (m_axis_tdata !== outputs[given-first]) begin
                        complain("wrong code");
                        if (errors <= 10) $display("  found %h, expected %h", m_axis_tdata, outputs[given-first]);
                    end
                    if (m_axis_tlast !== (((given - first) % OUT_BEATS) == OUT_BEATS - 1)) complain("wrong tlast");
                    given = given + 1;
                    left = cycle;
                end
            end
            if (frame_error !== 1'b0) complain("frame_error, although tlast was right");
            if (idle > PATIENCE && given < expected) begin
                $display("FAIL: the design stops, %0d of %0d beats are out", given, expected);
                $fatal(1, "the design stops");
            end
        end
    end

    // With pauses it waits for tvalid, as a sink may.
    always @(negedge clk) m_axis_tready = !stalls || (noise[3] && m_axis_tvalid === 1'b1);

    task send(input integer events, input logic pauses);
        integer so_far;
        stalls = pauses;
        first = given;
        expected = given + events * OUT_BEATS;
        for (integer beat = 0; beat < events * IN_BEATS; beat = beat + 1) begin
            while (pauses && noise[0]) begin
                s_axis_tvalid = 0;
                s_axis_tdata = ~inputs[beat]; // what stands at the port without tvalid must not matter
                s_axis_tlast = noise[1];
                @(negedge clk);
            end
            s_axis_tvalid = 1;
            s_axis_tdata = inputs[beat];
            s_axis_tlast = (beat % IN_BEATS) == IN_BEATS - 1;
            so_far = taken;
            while (taken == so_far) @(negedge clk);
        end
        s_axis_tvalid = 0;
        while (given < expected) @(negedge clk);
        repeat (LATENCY + 8) @(negedge clk); // time for beats too many
    endtask

    initial begin
        if (!$value$plusargs("vectors=%s", vectors)) vectors = "vectors";
        need_file({vectors, "/inputs.hex"});
        need_file({vectors, "/outputs.hex"});
        $readmemh({vectors, "/inputs.hex"}, inputs);
        $readmemh({vectors, "/outputs.hex"}, outputs);
        repeat (8) @(negedge clk);
        rst = 0;
        send(1, 0);
        if (left - entered != LATENCY) begin
            complain("wrong latency");
            $display("  found %0d cycles, expected %0d", left - entered, LATENCY);
        end
        send(EVENTS, 0);
        send(EVENTS, 1);
        if (errors == 0) begin
            $display("PASS: %0d events with and without pauses, latency %0d cycles", EVENTS, LATENCY);
            $finish;
        end else begin
            $display("FAIL: %0d errors", errors);
            $fatal(1, "the design does not give what the vectors demand");
        end
    end
