    // Sends all events through the design, without pauses and then with pauses, and checks each output and its latency.
    // Reads inputs.hex and outputs.hex in the directory +vectors=DIR, "vectors" by default.

    logic clk = 0, rst = 1, in_valid = 0;
    logic [IN_BITS-1:0] in_data = '0;
    wire out_valid;
    wire [OUT_BITS-1:0] out_data;

    logic [IN_BITS-1:0] inputs [0:EVENTS-1];
    logic [OUT_BITS-1:0] outputs [0:EVENTS-1];
    integer entered [0:EVENTS-1];
    integer cycle = 0, taken = 0, given = 0, errors = 0, phase;
    logic [15:0] noise = 16'hACE1;
    string vectors;

    always #(HALF_PERIOD_NS) clk = ~clk;

    task complain(input string what);
        errors = errors + 1;
        if (errors <= 10) $display("cycle %0d, output %0d: %s", cycle, given % EVENTS, what);
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
            if (in_valid) begin
                entered[taken % EVENTS] = cycle;
                taken = taken + 1;
            end
            if (out_valid !== 1'b0) begin
                if (out_valid !== 1'b1) complain("out_valid is undefined");
                if (given >= taken) complain("no event was under way");
                else begin
                    if (out_data !== outputs[given % EVENTS]) begin
                        complain("wrong code");
                        if (errors <= 10) $display("  found %h, expected %h", out_data, outputs[given % EVENTS]);
                    end
                    if (cycle - entered[given % EVENTS] != LATENCY) complain("wrong latency");
                    given = given + 1;
                end
            end
        end
    end

    task send(input logic pauses);
        for (integer index = 0; index < EVENTS; index = index + 1) begin
            while (pauses && noise[0]) begin
                in_valid = 0;
                in_data = ~inputs[index]; // what stands at the port without in_valid must not matter
                @(negedge clk);
            end
            in_valid = 1;
            in_data = inputs[index];
            @(negedge clk);
        end
        in_valid = 0;
        repeat (LATENCY + 8) @(negedge clk);
    endtask

    initial begin
        if (!$value$plusargs("vectors=%s", vectors)) vectors = "vectors";
        need_file({vectors, "/inputs.hex"});
        need_file({vectors, "/outputs.hex"});
        $readmemh({vectors, "/inputs.hex"}, inputs);
        $readmemh({vectors, "/outputs.hex"}, outputs);
        repeat (LATENCY + 4) @(negedge clk);
        rst = 0;
        for (phase = 1; phase <= 2; phase = phase + 1) begin
            send(phase == 2);
            if (taken != phase * EVENTS || given != phase * EVENTS) complain("events were lost");
        end
        if (errors == 0) begin
            $display("PASS: %0d events with and without pauses, latency %0d cycles", EVENTS, LATENCY);
            $finish;
        end else begin
            $display("FAIL: %0d errors", errors);
            $fatal(1, "the design does not give what the vectors demand");
        end
    end
